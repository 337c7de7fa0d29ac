//! `[gateway.limits]` and `[gateway.timeouts]`: how much there may be of things, and for how long.
//!
//! What is left out is as shipped, so that a site states only what it wants otherwise.

use std::time::Duration;

use jiff::SignedDuration;
use proxy::{Http2Limits, Limits, Quotas, Timeouts};
use serde::{Deserialize, Serialize};

/// `[gateway.limits]`
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Client connections at once, all plugins together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Live connections of one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_run: Option<usize>,
    /// Live connections of one plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_plugin: Option<usize>,
    /// New connections of one plugin in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_second: Option<u32>,
    /// Name lookups of one plugin under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookups_per_plugin: Option<usize>,
    /// Bytes of one request or response head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<usize>,
    /// Headers in one request or response head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<usize>,
    /// Streams at once on one HTTP/2 connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_streams: Option<u32>,
    /// Bytes that an HTTP/2 client may be ahead of its destination, on one stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_stream_window: Option<u32>,
    /// The same on all streams of a connection together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_connection_window: Option<u32>,
    /// Requests that an HTTP/2 client may take back at once before they are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_resets: Option<u32>,
}

/// `[gateway.timeouts]`; durations are written as `"30s"`, `"10m"` or `"1h 30m"`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeoutsConfig {
    /// From the first byte of a request to the end of its head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<SignedDuration>,
    /// Between two requests on one connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<SignedDuration>,
    /// A name lookup, all attempts together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<SignedDuration>,
    /// From the first dial to an established connection, all addresses together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<SignedDuration>,
    /// Without a byte in either direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<SignedDuration>,
    /// Between two questions whether an HTTP/2 client with open streams is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping: Option<SignedDuration>,
    /// How long its answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pong: Option<SignedDuration>,
    /// A connection's whole life; without it a connection may live as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<SignedDuration>,
    /// Between two `progress` events of a long connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<SignedDuration>,
    /// How long tunnels may go on after the gateway was told to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<SignedDuration>,
}

/// The longest that `progress` may be: a long tunnel is heard of at least every ten minutes.
const LONGEST_PROGRESS: SignedDuration = SignedDuration::from_mins(10);
/// What tunnels are given to end by themselves unless the site says otherwise.
const DRAIN: Duration = Duration::from_secs(10);

impl LimitsConfig {
    /// What is set, over what is shipped.
    pub fn limits(&self) -> Limits {
        let shipped = Limits::default();
        let quotas = shipped.quotas;
        Limits {
            connections: self.connections.unwrap_or(shipped.connections),
            head_bytes: self.head_bytes.unwrap_or(shipped.head_bytes),
            headers: self.headers.unwrap_or(shipped.headers),
            lookups_per_plugin: self.lookups_per_plugin.unwrap_or(shipped.lookups_per_plugin),
            quotas: Quotas {
                connections_per_run: self.connections_per_run.unwrap_or(quotas.connections_per_run),
                connections_per_plugin: self
                    .connections_per_plugin
                    .unwrap_or(quotas.connections_per_plugin),
                connections_per_second: self
                    .connections_per_second
                    .unwrap_or(quotas.connections_per_second),
            },
            http2: Http2Limits {
                streams: self.http2_streams.unwrap_or(shipped.http2.streams),
                stream_window: self.http2_stream_window.unwrap_or(shipped.http2.stream_window),
                connection_window: self
                    .http2_connection_window
                    .unwrap_or(shipped.http2.connection_window),
                resets: self.http2_resets.unwrap_or(shipped.http2.resets),
            },
        }
    }

    /// The key and what is wrong with it, where a value cannot work.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let counts = [
            ("connections", self.connections),
            ("connections_per_run", self.connections_per_run),
            ("connections_per_plugin", self.connections_per_plugin),
            (
                "connections_per_second",
                self.connections_per_second.map(|rate| rate as usize),
            ),
            ("lookups_per_plugin", self.lookups_per_plugin),
            ("headers", self.headers),
            ("http2_streams", self.http2_streams.map(|count| count as usize)),
            ("http2_resets", self.http2_resets.map(|count| count as usize)),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == Some(0)) {
            return Err((
                key,
                "0 lets nobody through; leave it out for the shipped limit".to_owned(),
            ));
        }
        if self
            .head_bytes
            .is_some_and(|bytes| !(1 << 10..=1 << 20).contains(&bytes))
        {
            return Err(("head_bytes", "write a number from 1024 to 1048576".to_owned()));
        }
        let windows = [
            ("http2_stream_window", self.http2_stream_window),
            ("http2_connection_window", self.http2_connection_window),
        ];
        // RFC 9113 §6.9.1 and §6.9.2: no connection begins with less, and no window is larger.
        let possible = 65_535..=i32::MAX.unsigned_abs();
        if let Some((key, _)) = windows
            .into_iter()
            .find(|(_, set)| set.is_some_and(|bytes| !possible.contains(&bytes)))
        {
            return Err((key, "write a number from 65535 to 2147483647".to_owned()));
        }
        Ok(())
    }
}

impl TimeoutsConfig {
    /// What is set, over what is shipped.
    pub fn timeouts(&self) -> Timeouts {
        let shipped = Timeouts::default();
        let or = |set: Option<SignedDuration>, shipped| set.map_or(shipped, SignedDuration::unsigned_abs);
        Timeouts {
            head: or(self.head, shipped.head),
            keep_alive: or(self.keep_alive, shipped.keep_alive),
            lookup: or(self.lookup, shipped.lookup),
            connect: or(self.connect, shipped.connect),
            idle: or(self.idle, shipped.idle),
            ping: or(self.ping, shipped.ping),
            pong: or(self.pong, shipped.pong),
            total: self.total.map(SignedDuration::unsigned_abs),
            progress: or(self.progress, shipped.progress),
            ..shipped
        }
    }

    /// How long tunnels may go on after the gateway was told to stop.
    pub fn drain(&self) -> Duration {
        self.drain.map_or(DRAIN, SignedDuration::unsigned_abs)
    }

    /// The key and what is wrong with it, where a value cannot work.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let positive = [
            ("head", self.head),
            ("keep_alive", self.keep_alive),
            ("lookup", self.lookup),
            ("connect", self.connect),
            ("idle", self.idle),
            ("ping", self.ping),
            ("pong", self.pong),
            ("total", self.total),
            ("progress", self.progress),
        ];
        let not_positive = |duration: SignedDuration| duration.is_zero() || duration.is_negative();
        if let Some((key, _)) = positive
            .into_iter()
            .find(|(_, set)| set.is_some_and(not_positive))
        {
            return Err((
                key,
                "a duration longer than nothing is needed, for example \"30s\"".to_owned(),
            ));
        }
        if self.drain.is_some_and(|drain| drain.is_negative()) {
            return Err(("drain", "write \"0s\" to wait for nobody".to_owned()));
        }
        if self.progress.is_some_and(|progress| progress > LONGEST_PROGRESS) {
            return Err((
                "progress",
                "a long tunnel is recorded at least every \"10m\"".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_shipped_and_what_is_set_counts() {
        let limits: LimitsConfig = toml::from_str("connections_per_run = 7").unwrap();
        let shipped = Limits::default();
        assert_eq!(limits.limits().connections, shipped.connections);
        assert_eq!(limits.limits().quotas.connections_per_run, 7);
        let timeouts: TimeoutsConfig = toml::from_str("idle = \"1h 30m\"").unwrap();
        assert_eq!(timeouts.timeouts().idle, Duration::from_secs(5400));
        assert_eq!(timeouts.timeouts().head, Timeouts::default().head);
        assert_eq!(timeouts.drain(), DRAIN);
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_their_key() {
        for (text, key) in [
            ("connections = 0", "connections"),
            ("connections_per_second = 0", "connections_per_second"),
            ("head_bytes = 10", "head_bytes"),
            ("http2_streams = 0", "http2_streams"),
            ("http2_stream_window = 1000", "http2_stream_window"),
        ] {
            let limits: LimitsConfig = toml::from_str(text).unwrap();
            assert_eq!(limits.check().unwrap_err().0, key);
        }
        for (text, key) in [
            ("idle = \"0s\"", "idle"),
            ("drain = \"-1s\"", "drain"),
            ("progress = \"11m\"", "progress"),
        ] {
            let timeouts: TimeoutsConfig = toml::from_str(text).unwrap();
            assert_eq!(timeouts.check().unwrap_err().0, key);
        }
        assert!(toml::from_str::<TimeoutsConfig>("idle = 30").is_err());
        assert!(toml::from_str::<LimitsConfig>("connection = 1").is_err());
    }
}
