//! Application modes: what kind of content a bundle is, as the clients name it.

use serde::{Deserialize, Serialize};

macro_rules! modes {
    ($($ordinal:literal $variant:ident $name:literal, $doc:literal;)*) => {
        /// What kind of content a bundle is. Names and ordinals are the protocol's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum AppMode {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)*
        }

        impl AppMode {
            /// Every mode, in the order of the ordinals.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in manifests and in the versioned API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The number in the unversioned API.
            pub fn ordinal(self) -> i32 {
                match self { $(Self::$variant => $ordinal,)* }
            }
        }
    };
}

modes! {
    0 Unknown "unknown", "Nothing deployed yet.";
    1 Shiny "shiny", "An R Shiny application.";
    2 RmdShiny "rmd-shiny", "An R Markdown document with a Shiny runtime.";
    3 RmdStatic "rmd-static", "An R Markdown document rendered to a page.";
    4 Static "static", "Files served as they are.";
    5 Api "api", "An R Plumber API.";
    6 TensorflowSavedModel "tensorflow-saved-model", "A TensorFlow saved model.";
    7 JupyterStatic "jupyter-static", "A Jupyter notebook rendered to a page.";
    8 PythonApi "python-api", "A Python WSGI application.";
    9 PythonDash "python-dash", "A Dash application.";
    10 PythonStreamlit "python-streamlit", "A Streamlit application.";
    11 PythonBokeh "python-bokeh", "A Bokeh application.";
    12 PythonFastapi "python-fastapi", "A Python ASGI application.";
    13 QuartoShiny "quarto-shiny", "A Quarto document with a Shiny runtime.";
    14 QuartoStatic "quarto-static", "A Quarto document or project rendered to pages.";
    15 PythonShiny "python-shiny", "A Shiny for Python application.";
    16 JupyterVoila "jupyter-voila", "A notebook shown by Voila.";
    17 PythonGradio "python-gradio", "A Gradio application.";
    18 PythonPanel "python-panel", "A Panel application.";
    20 Nodejs "nodejs", "A Node.js application.";
}

impl AppMode {
    /// Parses a manifest's name; `nodejs-api` is an older name of `nodejs`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "nodejs-api" {
            return Some(Self::Nodejs);
        }
        Self::ALL.iter().copied().find(|mode| mode.as_str() == text)
    }

    /// Whether a visitor must always meet the same process, because it keeps what they do in memory: frameworks that hold a session
    /// over a WebSocket and take uploads, polls and downloads for it beside. APIs and Dash keep nothing between requests.
    pub fn is_sticky(self) -> bool {
        matches!(
            self,
            Self::Shiny
                | Self::RmdShiny
                | Self::QuartoShiny
                | Self::PythonShiny
                | Self::PythonStreamlit
                | Self::PythonBokeh
                | Self::PythonPanel
                | Self::PythonGradio
                | Self::JupyterVoila
        )
    }

    /// Whether it is a document: source that is rendered to pages, once or by a schedule, and not for each visitor.
    pub fn is_rendered(self) -> bool {
        matches!(self, Self::RmdStatic | Self::JupyterStatic | Self::QuartoStatic)
    }

    /// Whether a native process serves it; otherwise Lectern serves its files itself.
    pub fn has_worker(self) -> bool {
        !matches!(self, Self::Unknown | Self::Static | Self::RmdStatic | Self::JupyterStatic | Self::QuartoStatic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ordinals_are_unique_and_parse() {
        for mode in AppMode::ALL {
            assert_eq!(AppMode::parse(mode.as_str()), Some(*mode));
            assert_eq!(AppMode::ALL.iter().filter(|other| other.ordinal() == mode.ordinal()).count(), 1);
        }
        assert_eq!(AppMode::parse("nodejs-api"), Some(AppMode::Nodejs));
        assert_eq!(AppMode::parse("python-flask"), None);
        assert!(AppMode::ALL.iter().all(|mode| mode.has_worker() || !mode.is_sticky()));
        assert!(AppMode::ALL.iter().all(|mode| !(mode.has_worker() && mode.is_rendered())));
    }
}
