//! The egress gateway: it names, asks, relays and writes down.
