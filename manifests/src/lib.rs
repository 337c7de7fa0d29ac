//! The covenant: egress grammar, coverage, artifact digests and the load gate.
