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
        /// Whoever connected may not come in here: another user of the machine on a run's own socket,
        /// a PROXY header from a peer that is not listed, or none from one that is.
        UntrustedPeer = "untrusted_peer",
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
        /// The answer was cut off, and the whole of it could not be had.
        Truncated = "truncated",
        /// No answer in time.
        Timeout = "timeout",
        /// Another failure of the resolver.
        Failed = "failed",
        /// Nothing was looked up here: the connection went through a parent proxy, which was given the
        /// target as it is and looks names up itself.
        Parent = "parent",
    }
}

text_enum! {
    /// What can be said about the server name inside TLS.
    pub enum SniVisibility as "visibility of the server name" {
        /// The ClientHello carries a server name and offers nothing that could hide another.
        Clear = "clear",
        /// The ClientHello carries no server name.
        Absent = "absent",
        /// The ClientHello carries an Encrypted Client Hello, or the filler that clients send so that
        /// nobody can tell (GREASE). A name beside it may be a cover name, and nothing confirms it.
        Ech = "ech",
        /// The ClientHello could not be read.
        Unparsed = "unparsed",
    }
}

text_enum! {
    /// What became of one address that was dialled.
    pub enum DialResult as "dial result" {
        /// It answered, and carried the connection.
        Connected = "connected",
        /// It refused.
        Refused = "refused",
        /// No way leads there.
        Unreachable = "unreachable",
        /// It did not answer in time.
        Timeout = "timeout",
        /// Another failure of input or output.
        Failed = "failed",
        /// It was given up before it answered: another address had answered, or nobody waited any
        /// longer. No byte was sent to it.
        Abandoned = "abandoned",
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
        /// The parent proxy could not be reached.
        ParentUnreachable = "parent_unreachable",
        /// The parent proxy did not accept the operator's credentials.
        ParentCredentials = "parent_credentials",
        /// The parent proxy would not connect.
        ParentRefused = "parent_refused",
        /// The parent proxy tried to connect and could not.
        ParentFailed = "parent_failed",
        /// The parent proxy answered something that is not HTTP, too much, or nothing.
        ParentBadResponse = "parent_bad_response",
        /// The parent proxy did not answer in time.
        ParentTimeout = "parent_timeout",
        /// Another failure of input or output.
        Error = "error",
    }
}

impl Outcome {
    /// Whether the connection never stood: nothing moved between client and destination.
    pub const fn never_stood(self) -> bool {
        match self {
            Self::DnsFailed
            | Self::FloorRefused
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::ParentUnreachable
            | Self::ParentCredentials
            | Self::ParentRefused
            | Self::ParentFailed
            | Self::ParentBadResponse
            | Self::ParentTimeout => true,
            Self::ClientClosed
            | Self::ServerClosed
            | Self::Completed
            | Self::ClientReset
            | Self::ServerReset
            | Self::IdleTimeout
            | Self::Killed
            | Self::RunEnded
            | Self::Shutdown
            | Self::BadResponse
            | Self::Error => false,
        }
    }
}
