//! The request, its connection, who asks and where it goes.

use lectern_domain::BundleId;

use crate::bindings::lectern::plugin::{connection, request, target, types, visitor};
use crate::head::Head;
use crate::state::State;

impl types::Host for State {}

impl request::Host for State {
    fn id(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.id.clone())
    }
    fn method(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.method.as_str().to_owned())
    }
    fn scheme(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.scheme.as_str().to_owned())
    }
    fn authority(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.authority().to_owned())
    }
    fn host(&mut self) -> String {
        self.head().map_or(String::new(), Head::host)
    }
    fn client_ip(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.client_ip.to_string())
    }
    fn path(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.path.decoded().to_owned())
    }
    fn path_prefix(&mut self, segments: u32) -> String {
        let segments = usize::try_from(segments).unwrap_or(usize::MAX);
        self.head().map_or(String::new(), |head| head.path.prefix(segments).to_owned())
    }
    fn path_has_prefix(&mut self, prefix: String) -> bool {
        self.head().is_some_and(|head| head.path.decoded().starts_with(&prefix))
    }
    fn query(&mut self) -> Option<String> {
        self.head()?.query.clone()
    }
    fn query_param(&mut self, name: String) -> Option<String> {
        self.head()?.query_param(&name)
    }
    fn header(&mut self, name: String) -> Vec<Vec<u8>> {
        self.head().map_or(Vec::new(), |head| head.guest_header(&name))
    }
    fn cookie(&mut self, name: String) -> Option<String> {
        self.head()?.guest_cookie(&name).map(str::to_owned)
    }
    fn headers(&mut self) -> Vec<types::Field> {
        self.head().map_or(Vec::new(), Head::guest_headers)
    }
}

impl connection::Host for State {
    fn peer_ip(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.peer_ip.to_string())
    }
    fn client_certificate(&mut self) -> Option<connection::Certificate> {
        let certificate = self.head()?.certificate.as_ref()?;
        Some(connection::Certificate {
            sha256: certificate.sha256.clone(),
            subject: certificate.subject.clone(),
            dns_names: certificate.dns_names.clone(),
        })
    }
}

impl visitor::Host for State {
    fn present(&mut self) -> bool {
        self.visitor().is_some()
    }
    fn subject(&mut self) -> Option<String> {
        Some(self.visitor()?.subject.clone())
    }
    fn in_group(&mut self, name: String) -> bool {
        self.visitor().is_some_and(|visitor| visitor.groups.contains(&name))
    }
    fn claim(&mut self, name: String) -> Option<String> {
        self.visitor()?.claims.iter().find(|(claim, _)| *claim == name).map(|(_, value)| value.clone())
    }
}

impl target::Host for State {
    fn name(&mut self) -> String {
        self.target().map_or(String::new(), |view| view.target.to_string())
    }
    fn content(&mut self) -> Option<String> {
        Some(self.target()?.content.as_ref()?.guid.to_string())
    }
    fn active_bundle(&mut self) -> Option<String> {
        Some(self.target()?.content.as_ref()?.active?.to_string())
    }
    fn has_bundle(&mut self, number: String) -> bool {
        let bundles = self.target().and_then(|view| view.content.as_ref()).map(|content| &content.bundles);
        number.parse::<BundleId>().is_ok_and(|id| bundles.is_some_and(|bundles| bundles.contains_key(&id)))
    }
}
