//! Frameworks of Python applications that are more than a WSGI or ASGI object: what each is called, needs and starts from.

use serde::{Deserialize, Serialize};

use crate::AppMode;

/// A framework of interactive Python applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PythonFramework {
    /// Dash: a WSGI application that must know its mount.
    Dash,
    /// Streamlit: a script that is run again for each interaction.
    Streamlit,
    /// A Bokeh server.
    Bokeh,
    /// Shiny for Python: an ASGI application.
    Shiny,
    /// Gradio: blocks that a script launches.
    Gradio,
    /// Panel, on a Bokeh server.
    Panel,
    /// Voila: notebooks shown as pages, a kernel for each visitor.
    Voila,
}

impl PythonFramework {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::Dash, Self::Streamlit, Self::Bokeh, Self::Shiny, Self::Gradio, Self::Panel, Self::Voila];

    /// The framework of a mode; `None` when it has none of these.
    pub fn of(mode: AppMode) -> Option<Self> {
        Self::ALL.iter().copied().find(|framework| framework.mode() == mode)
    }

    /// The mode whose applications use it.
    pub fn mode(self) -> AppMode {
        match self {
            Self::Dash => AppMode::PythonDash,
            Self::Streamlit => AppMode::PythonStreamlit,
            Self::Bokeh => AppMode::PythonBokeh,
            Self::Shiny => AppMode::PythonShiny,
            Self::Gradio => AppMode::PythonGradio,
            Self::Panel => AppMode::PythonPanel,
            Self::Voila => AppMode::JupyterVoila,
        }
    }

    /// How a publisher calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Dash => "Dash",
            Self::Streamlit => "Streamlit",
            Self::Bokeh => "Bokeh",
            Self::Shiny => "Shiny for Python",
            Self::Gradio => "Gradio",
            Self::Panel => "Panel",
            Self::Voila => "Voila",
        }
    }

    /// The packages that its applications cannot do without, by their normalised names; the publisher's requirements bring them,
    /// because only the publisher knows which version the application was written for.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Dash => &["dash"],
            Self::Streamlit => &["streamlit"],
            Self::Bokeh => &["bokeh"],
            Self::Shiny => &["shiny"],
            Self::Gradio => &["gradio"],
            Self::Panel => &["panel"],
            // Without a kernel Voila shows an error in place of every notebook.
            Self::Voila => &["voila", "ipykernel"],
        }
    }

    /// The endings of files that an application starts from; `None`: it starts from a module. An entry point without one is tried
    /// with each, in this order.
    pub fn file_endings(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Dash | Self::Shiny | Self::Gradio => None,
            Self::Streamlit => Some(&["py"]),
            Self::Bokeh => Some(&["py", "ipynb"]),
            Self::Panel => Some(&["py", "ipynb", "md"]),
            Self::Voila => Some(&["ipynb"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_framework_has_a_mode_that_is_run() {
        for framework in PythonFramework::ALL {
            assert_eq!(PythonFramework::of(framework.mode()), Some(*framework));
            assert!(framework.mode().has_worker(), "{framework:?}");
            assert!(!framework.packages().is_empty());
        }
        for other in [AppMode::PythonFastapi, AppMode::PythonApi, AppMode::Shiny, AppMode::Static] {
            assert_eq!(PythonFramework::of(other), None);
        }
    }
}
