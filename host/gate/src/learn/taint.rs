//! Why a decision may not be reused.

/// Something a call used that is not the same when asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Taint {
    /// `request.id`
    RequestId,
    /// `clock`
    Clock,
    /// `random`
    Random,
    /// `wasi:clocks`
    WasiClock,
    /// `wasi:random`
    WasiRandom,
    /// `key-value.get`
    StoreRead,
    /// `key-value.set`, `delete` and `swap`
    StoreWrite,
    /// `outbound`
    Outbound,
    /// `directory.check-password`
    Password,
    /// `accounts.sign-in`
    SignIn,
    /// Something else that has an effect.
    Effect,
    /// The same question had two answers: the directory changed during the call.
    AnswerChanged,
}

impl Taint {
    /// Whether a time to live in the decision is the author's word that it may be reused for so long all the same.
    ///
    /// Reading something that changes is such a case. Doing something is not (a one-time token must be used up each time), nor
    /// is naming the request.
    pub fn yields_to_ttl(self) -> bool {
        match self {
            Self::Clock | Self::Random | Self::WasiClock | Self::WasiRandom | Self::StoreRead | Self::Outbound => true,
            Self::RequestId | Self::StoreWrite | Self::Password | Self::SignIn | Self::Effect | Self::AnswerChanged => {
                false
            }
        }
    }

    /// A word for it, for counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestId => "request id",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::WasiClock => "wasi clock",
            Self::WasiRandom => "wasi random",
            Self::StoreRead => "key-value read",
            Self::StoreWrite => "key-value write",
            Self::Outbound => "outbound",
            Self::Password => "password",
            Self::SignIn => "sign-in",
            Self::Effect => "effect",
            Self::AnswerChanged => "answer changed",
        }
    }
}

/// Why a decision was not learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotLearned {
    /// The call used something that is not repeatable.
    Tainted(Taint),
    /// The call asked more than 64 questions.
    TooManyQuestions,
    /// The call took more than four tokens from buckets.
    TooManyEffects,
    /// The call wrote more lines of level info and above than are replayed.
    TooManyLines,
    /// Questions or decision are too large to keep.
    TooLarge,
    /// A denial of a visitor without identity: a quick answer would tell an outsider that a path is in use, and learning it
    /// would let an outsider guess at the price of a walk.
    DenialWithoutIdentity,
    /// The decision holds no longer.
    Expired,
    /// The tree is full, and this was not seen before.
    FirstSight,
    /// A call that uses the clock or the like found the tree otherwise; what is there goes first.
    OtherTime,
    /// The call was not recorded for this tree.
    OtherTree,
    /// Learning is off or rests.
    Off,
}

impl NotLearned {
    /// A word for it, for counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tainted(taint) => taint.as_str(),
            Self::TooManyQuestions => "too many questions",
            Self::TooManyEffects => "too many effects",
            Self::TooManyLines => "too many log lines",
            Self::TooLarge => "too large",
            Self::DenialWithoutIdentity => "denial without identity",
            Self::Expired => "expired",
            Self::FirstSight => "first sight",
            Self::OtherTime => "other time",
            Self::OtherTree => "other tree",
            Self::Off => "off",
        }
    }
}
