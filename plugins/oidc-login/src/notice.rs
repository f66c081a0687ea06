//! What a visitor reads when signing in did not work: what happened, and what to do. Details are for the log.

use lectern_plugin::page::Page;
use lectern_plugin::web::one_line;
use lectern_plugin::{Failure, Reply};

use crate::settings::Settings;

/// Characters of a provider's words that are shown.
const MAX_SHOWN: usize = 200;

/// Why a sign-in ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Not a request that a provider's answer can be.
    Malformed,
    /// The sign-in is unknown: answered before, too old, or never begun here.
    Over,
    /// Another browser began it.
    OtherBrowser,
    /// The answer is from another provider than was asked.
    OtherProvider,
    /// The provider said no: its error code and words.
    Refused(String, String),
    /// What the provider sent does not prove who it is.
    NotVerified,
    /// The provider cannot be reached or does not work.
    Unreachable,
    /// The operator's rules do not let this person in.
    NotAllowed,
    /// No account, and none may be made.
    NoAccount,
    /// The account is locked.
    Locked,
    /// The user name is somebody else's.
    NameTaken,
    /// The account cannot be made of what the provider says.
    Unusable,
    /// The accounts or the store cannot be used at present.
    Unavailable,
    /// Too many sign-ins begun from this address; seconds to wait.
    TooMany(u32),
    /// A form came from another site.
    Forged,
}

/// Ends the handling of a page.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The visitor is shown this; what is to be logged has been.
    Shown(Notice),
    /// The plugin cannot answer.
    Failed(Failure),
}

impl From<Notice> for Stop {
    fn from(notice: Notice) -> Self {
        Self::Shown(notice)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Notice {
    /// The notice of a fixed word, for links to `error?reason=…`. Nothing of the address is shown.
    pub(crate) fn of_word(word: &str) -> Self {
        match word {
            "over" => Self::Over,
            "not-allowed" => Self::NotAllowed,
            "no-account" => Self::NoAccount,
            "locked" => Self::Locked,
            "unavailable" => Self::Unavailable,
            "unreachable" => Self::Unreachable,
            _ => Self::Malformed,
        }
    }

    /// The page.
    pub(crate) fn page(&self, settings: &Settings) -> Reply {
        let provider = &settings.provider_name;
        let (status, text) = match self {
            Self::Malformed => (400, "This address does not belong to a sign-in. Please begin again.".to_owned()),
            Self::Over => (400, "This sign-in was used already or took too long. Please begin again.".to_owned()),
            Self::OtherBrowser => (
                403,
                "This sign-in was begun in another browser, or this browser refuses cookies. Please begin again here."
                    .to_owned(),
            ),
            Self::OtherProvider => (403, format!("The answer did not come from {provider}. Please begin again.")),
            Self::Refused(code, _) if code == "access_denied" => (403, format!("{provider} did not let you in.")),
            Self::Refused(..) => (403, format!("{provider} could not sign you in.")),
            Self::NotVerified => {
                (403, format!("What {provider} sent could not be verified. Please tell the administrator."))
            }
            Self::Unreachable => {
                (503, format!("{provider} cannot be reached at the moment. Please try again in a minute."))
            }
            Self::NotAllowed => (403, "You proved who you are, but you may not sign in here.".to_owned()),
            Self::NoAccount => (
                403,
                "You proved who you are, but there is no account of yours here. Ask the administrator.".to_owned(),
            ),
            Self::Locked => (403, "Your account here is locked. Ask the administrator.".to_owned()),
            Self::NameTaken => (
                409,
                "Your user name belongs to another account here. Ask the administrator to link it to you.".to_owned(),
            ),
            Self::Unusable => {
                (403, format!("No account can be made of what {provider} says of you. Ask the administrator."))
            }
            Self::Unavailable => {
                (503, "Signing in is not possible at the moment. Please try again in a minute.".to_owned())
            }
            Self::TooMany(seconds) => (429, format!("Too many tries. Please wait {seconds} seconds, then try again.")),
            Self::Forged => (403, "This form was not sent from a page of this server.".to_owned()),
        };
        let mut page = Page::new("Not signed in").status(status).alert(&text);
        if let Self::Refused(code, words) = self {
            let said = if words.is_empty() { code.clone() } else { format!("{words} ({code})") };
            page = page.text(&format!("It said: {}", one_line(&said, MAX_SHOWN)));
        }
        if !matches!(self, Self::Forged) {
            page = page.link(&format!("{}start", settings.base()), "Try again");
        }
        let reply = page.reply();
        match self {
            Self::TooMany(seconds) => reply.with("retry-after", &seconds.to_string()),
            Self::Unreachable | Self::Unavailable => reply.with("retry-after", "5"),
            _ => reply,
        }
    }
}
