//! Closed lists of words that only control speaks: what was done, and how a letter stands.

use base::text_enum;

text_enum! {
    /// What an operator, or a clause of the policy, did.
    pub enum Action as "action" {
        /// An artifact passed the load gate.
        Admit = "admit",
        /// An older artifact made room for a newer one.
        Supersede = "supersede",
        /// A plugin was put into a tier.
        SetTier = "set_tier",
        /// An entry with action `hold` went on the list.
        Quarantine = "quarantine",
        /// An entry with action `revoke` went on the list.
        Revoke = "revoke",
        /// A hold was lifted.
        Reinstate = "reinstate",
        /// The kill switch was thrown.
        Kill = "kill",
        /// The kill switch was released.
        LiftKill = "lift_kill",
        /// The load gate was told to refuse everything.
        SafeModeOn = "safe_mode_on",
        /// The load gate works as usual again.
        SafeModeOff = "safe_mode_off",
        /// A newer trust root took effect.
        TrustRoot = "trust_root",
        /// A letter that had been given up was put back into the outbox.
        MailAgain = "mail_again",
        /// A build was admitted that mends a finding.
        Remediate = "remediate",
        /// A night found the finding gone.
        RemediationClosed = "remediation_closed",
        /// An owner says that a finding is wrong.
        AppealOpened = "appeal_opened",
        /// Somebody read an appeal.
        AppealAcknowledged = "appeal_acknowledged",
        /// Somebody answered an appeal.
        AppealResponded = "appeal_responded",
        /// Somebody decided an appeal.
        AppealDecided = "appeal_decided",
        /// An address was asked to send a token back.
        ContactAsked = "contact_asked",
        /// The token came back: somebody reads mail there.
        ContactVerified = "contact_verified",
        /// Mail to an address came back.
        ContactBounced = "contact_bounced",
        /// A version of the policy is followed for the first time.
        Policy = "policy",
        /// The files of the configuration were read again and took effect.
        Reload = "reload",
        /// An artifact goes on running, and somebody looks.
        Watch = "watch",
        /// An act that waited was approved by a second person.
        ApproveAct = "approve_act",
        /// An act that waited will not be done.
        RejectAct = "reject_act",
    }
}

text_enum! {
    /// How a letter in the outbox stands.
    pub enum MailState as "mail state" {
        /// Waiting to be sent.
        Queued = "queued",
        /// The server took it (reply 250).
        Sent = "sent",
        /// Given up; `last_error` says why.
        Dead = "dead",
    }
}

text_enum! {
    /// How an act stands that was not done at once.
    pub enum WaitingState as "state of a waiting act" {
        /// Nobody decided yet.
        Waiting = "waiting",
        /// A second person approved it, and it was done.
        Approved = "approved",
        /// It will not be done.
        Rejected = "rejected",
        /// Its grace was over, and it was done by itself.
        Done = "done",
        /// Nobody decided in time, and it will not be done.
        Expired = "expired",
    }
}

text_enum! {
    /// Why an owner says that a finding is wrong.
    pub enum AppealReason as "appeal reason" {
        /// The manifest does declare it.
        Declared = "declared",
        /// It was another plugin, or nobody knows whose it was.
        NotThisPlugin = "not_this_plugin",
        /// The evidence is wrong or incomplete.
        EvidenceWrong = "evidence_wrong",
        /// The platform itself, or something that it told the plugin to use, made the connection.
        PlatformCaused = "platform_caused",
        /// Somebody of the platform had agreed to it.
        AgreedException = "agreed_exception",
        /// It happened, and what was done about it is too much.
        Disproportionate = "disproportionate",
    }
}

text_enum! {
    /// How an appeal was decided.
    pub enum AppealOutcome as "outcome of an appeal" {
        /// The owner was right.
        Granted = "granted",
        /// The finding stands.
        Denied = "denied",
    }
}

text_enum! {
    /// How a build that mends a finding came in.
    pub enum Lane as "lane" {
        /// Its permissions grow by nothing but what the finding needs.
        Fast = "fast",
        /// They grow by more, and the certifier approved.
        Ordinary = "ordinary",
    }
}

text_enum! {
    /// What a page of a report is made for.
    pub enum Form as "form of a report" {
        /// A browser.
        Html = "html",
        /// A terminal.
        Text = "text",
        /// Paper.
        Pdf = "pdf",
    }
}

impl Form {
    /// The media type (IANA).
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
            Self::Pdf => "application/pdf",
        }
    }
}

text_enum! {
    /// What kind of listener a run gets for itself.
    pub enum ListenerKind as "kind of listener" {
        /// A Unix socket that one user may open.
        Unix = "unix",
        /// A loopback port that every process of the machine can reach.
        Tcp = "tcp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_from_text_and_from_json() {
        for &action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
            let json = serde_json::to_string(&action).unwrap();
            assert_eq!(json, format!("{:?}", action.as_str()));
            assert_eq!(serde_json::from_str::<Action>(&json).unwrap(), action);
        }
        for &state in MailState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("undo".parse::<Action>().is_err());
    }
}
