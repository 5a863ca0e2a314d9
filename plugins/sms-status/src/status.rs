//! What the operators' codes mean to a partner. For `on_message`; pure tables.

/// The state of an SMS, in a partner's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The operator has taken it.
    Accepted,
    /// On its way.
    Sent,
    /// On the phone.
    Delivered,
    /// It will not arrive.
    Failed,
    /// Its validity ran out.
    Expired,
    /// The operator would not take it.
    Rejected,
    /// It was cancelled before it arrived.
    Cancelled,
    /// The operator does not say, and will not.
    Unknown,
}

impl Status {
    /// Reads an SMPP message state (SMPP 3.4, appendix B), in any case.
    pub fn from_code(code: &str) -> Option<Self> {
        const CODES: [(&str, Status); 8] = [
            ("DELIVRD", Status::Delivered),
            ("ENROUTE", Status::Sent),
            ("ACCEPTD", Status::Accepted),
            ("UNDELIV", Status::Failed),
            ("EXPIRED", Status::Expired),
            ("REJECTD", Status::Rejected),
            ("DELETED", Status::Cancelled),
            ("UNKNOWN", Status::Unknown),
        ];
        CODES.iter().find(|(name, _)| name.eq_ignore_ascii_case(code)).map(|(_, status)| *status)
    }

    /// The status as partners read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// The event type that partners subscribe to.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Accepted => "sms.accepted",
            Self::Sent => "sms.sent",
            Self::Delivered => "sms.delivered",
            Self::Failed => "sms.failed",
            Self::Expired => "sms.expired",
            Self::Rejected => "sms.rejected",
            Self::Cancelled => "sms.cancelled",
            Self::Unknown => "sms.unknown",
        }
    }

    /// Whether no other status follows.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Accepted | Self::Sent)
    }

    /// Whether somebody should look.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Expired | Self::Rejected)
    }
}

/// What an error code of the operators comes to. Zeros in front do not count; a code that is not
/// here is `other`.
pub fn reason_of(code: &str) -> &'static str {
    match code.trim_start_matches('0') {
        "" => "unspecified",
        "1" => "unknown-subscriber",
        "6" => "absent-subscriber",
        "9" => "illegal-subscriber",
        "11" => "service-not-provisioned",
        "13" => "call-barred",
        "21" => "facility-not-supported",
        "31" => "subscriber-busy",
        "32" => "memory-full",
        "34" => "system-failure",
        _ => "other",
    }
}
