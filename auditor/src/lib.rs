//! The night: gather, verify, fold, judge, seal, publish, act.
