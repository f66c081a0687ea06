//! The request, its connection, who asks and where it goes. All of it is answered by the evaluator, and recorded.

use crate::asked::tell;
use crate::bindings::lectern::plugin::{connection, request, target, types, visitor};
use crate::learn::{Part, Question, Taint};
use crate::state::State;

impl types::Host for State {}

impl request::Host for State {
    fn id(&mut self) -> String {
        tell!("id");
        self.taint(Taint::RequestId);
        self.head().map_or(String::new(), |head| head.id.clone())
    }
    fn method(&mut self) -> String {
        self.ask(Question::Method).text()
    }
    fn scheme(&mut self) -> String {
        self.ask(Question::Scheme).text()
    }
    fn authority(&mut self) -> String {
        self.ask(Question::Authority).text()
    }
    fn host(&mut self) -> String {
        self.ask(Question::Host).text()
    }
    fn client_ip(&mut self) -> String {
        self.ask(Question::ClientIp).text()
    }
    fn path(&mut self) -> String {
        self.ask(Question::Path).text()
    }
    fn path_prefix(&mut self, segments: u32) -> String {
        self.ask(Question::PathPrefix(segments)).text()
    }
    fn path_has_prefix(&mut self, prefix: String) -> bool {
        self.ask(Question::PathHasPrefix(prefix.into())).flag()
    }
    fn query(&mut self) -> Option<String> {
        self.ask(Question::Query).maybe_text()
    }
    fn query_param(&mut self, name: String) -> Option<String> {
        self.ask(Question::QueryParam(name.into())).maybe_text()
    }
    fn header(&mut self, name: String) -> Vec<Vec<u8>> {
        self.ask(Question::header(&name)).list()
    }
    fn cookie(&mut self, name: String) -> Option<String> {
        self.ask(Question::Cookie(name.into())).maybe_text()
    }
    fn headers(&mut self) -> Vec<types::Field> {
        self.ask(Question::Headers).fields()
    }
}

impl connection::Host for State {
    fn peer_ip(&mut self) -> String {
        self.ask(Question::PeerIp).text()
    }
    fn client_certificate(&mut self) -> Option<connection::Certificate> {
        let parts = self.ask(Question::ClientCertificate).into_parts().into_iter();
        let mut texts = parts.filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None });
        let (sha256, subject) = (texts.next()?, texts.next()?);
        Some(connection::Certificate { sha256, subject, dns_names: texts.collect() })
    }
}

impl visitor::Host for State {
    fn present(&mut self) -> bool {
        self.ask(Question::VisitorPresent).flag()
    }
    fn subject(&mut self) -> Option<String> {
        self.ask(Question::VisitorSubject).maybe_text()
    }
    fn in_group(&mut self, name: String) -> bool {
        self.ask(Question::InGroup(name.into())).flag()
    }
    fn claim(&mut self, name: String) -> Option<String> {
        self.ask(Question::Claim(name.into())).maybe_text()
    }
}

impl target::Host for State {
    fn name(&mut self) -> String {
        self.ask(Question::TargetName).text()
    }
    fn content(&mut self) -> Option<String> {
        self.ask(Question::TargetContent).maybe_text()
    }
    fn active_bundle(&mut self) -> Option<String> {
        self.ask(Question::ActiveBundle).maybe_text()
    }
    fn has_bundle(&mut self, number: String) -> bool {
        self.ask(Question::HasBundle(number.into())).flag()
    }
}
