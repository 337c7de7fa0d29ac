//! The closed lists of words that events use to say how a connection went.

use crate::text_enum::text_enum;

text_enum! {
    /// What carried the connection.
    pub enum Transport as "transport" {
        /// A TCP stream.
        Tcp = "tcp",
        /// UDP datagrams.
        Udp = "udp",
    }
}

text_enum! {
    /// Why the gateway refused a connection. Written to `reason` of a `refused` event and sent to
    /// the client as `X-Bailiwick-Reason`.
    pub enum RefusalReason as "refusal reason" {
        /// The request or its target could not be read in one way only.
        Malformed = "malformed",
        /// A form of request that this port does not serve.
        Unsupported = "unsupported",
        /// No credentials were presented.
        CredentialsMissing = "credentials_missing",
        /// The credentials verify under no run key, or name another run.
        CredentialsInvalid = "credentials_invalid",
        /// The credentials were good and have expired.
        CredentialsExpired = "credentials_expired",
        /// The run that the credentials name has ended.
        RunEnded = "run_ended",
        /// Two proofs of identity disagree.
        CredentialsConflict = "credentials_conflict",
        /// The artifact, its plugin, manifest or signer is revoked.
        Revoked = "revoked",
        /// The artifact, its plugin, manifest or signer is on hold.
        Quarantined = "quarantined",
        /// The kill switch covers the plugin.
        KillSwitch = "kill_switch",
        /// The tier's list does not hold the target.
        Tier = "tier",
        /// The address is below the floor: own listeners, loopback, link-local, metadata, private.
        Floor = "floor",
        /// A limit on the size of what was sent was reached.
        Limit = "limit",
        /// The run or its plugin has as many connections, or opens them as fast, as it may.
        Quota = "quota",
        /// The request did not arrive in time.
        Timeout = "timeout",
        /// Evidence cannot be written and the site refuses connections without a record.
        EvidenceUnavailable = "evidence_unavailable",
        /// The gateway is shutting down.
        Draining = "draining",
    }
}

text_enum! {
    /// How a name lookup ended.
    pub enum DnsResult as "DNS result" {
        /// At least one address.
        Ok = "ok",
        /// The target was an address; nothing was looked up.
        NotNeeded = "not_needed",
        /// The override map answered.
        Override = "override",
        /// The name does not exist.
        NxDomain = "nxdomain",
        /// The name exists and has no address.
        NoData = "no_data",
        /// A server failed.
        ServFail = "servfail",
        /// No answer in time.
        Timeout = "timeout",
        /// Another failure of the resolver.
        Failed = "failed",
    }
}

text_enum! {
    /// Why a connection ended.
    pub enum Outcome as "outcome" {
        /// Both directions were closed; the client closed first.
        ClientClosed = "client_closed",
        /// Both directions were closed; the server closed first.
        ServerClosed = "server_closed",
        /// A plain HTTP exchange came to its proper end; the connections under it may live on.
        Completed = "completed",
        /// The client reset the connection.
        ClientReset = "client_reset",
        /// The server reset the connection.
        ServerReset = "server_reset",
        /// Nothing moved for too long.
        IdleTimeout = "idle_timeout",
        /// A kill ended it.
        Killed = "killed",
        /// Its run ended.
        RunEnded = "run_ended",
        /// The gateway shut down.
        Shutdown = "shutdown",
        /// The name could not be resolved.
        DnsFailed = "dns_failed",
        /// Every address was below the floor.
        FloorRefused = "floor_refused",
        /// No address answered.
        ConnectFailed = "connect_failed",
        /// No address answered in time.
        ConnectTimeout = "connect_timeout",
        /// The server answered something that is not HTTP.
        BadResponse = "bad_response",
        /// Another failure of input or output.
        Error = "error",
    }
}
