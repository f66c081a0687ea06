//! What is published, and who has an account.

use crate::asked::tell;
use crate::bindings::lectern::plugin::{content, directory, types};
use crate::directory::PasswordRefusal;
use crate::evaluate::read_someone;
use crate::learn::{Kept, Part, Question, Taint};
use crate::state::State;

impl content::Host for State {
    fn vanity(&mut self) -> Option<content::Mount> {
        let mut parts = self.ask(Question::Vanity).into_parts().into_iter();
        let (Part::Open, Part::Text(content), Part::Text(path), Part::Number(segments)) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?)
        else {
            return None;
        };
        Some(content::Mount { content, path: format!("{path}/"), segments: u32::try_from(segments).ok()? })
    }
}

impl State {
    fn vouch_as(&mut self, answer: Kept) -> Option<types::Identity> {
        let (principal, groups) = read_someone(answer)?;
        Some(self.vouch(principal, &groups))
    }
}

impl directory::Host for State {
    fn find_key(&mut self, key: String) -> Option<types::Identity> {
        let digest = self.backend().directory.key_digest(&key);
        let answer = self.ask(Question::FindKey(Box::new(digest)));
        self.vouch_as(answer)
    }

    fn find_user(&mut self, name: String) -> Option<types::Identity> {
        let answer = self.ask(Question::FindUser(name.into()));
        self.vouch_as(answer)
    }

    fn session(&mut self) -> Option<types::Identity> {
        let answer = self.ask(Question::Session);
        self.vouch_as(answer)
    }

    async fn check_password(
        &mut self,
        username: String,
        password: String,
    ) -> Result<types::Identity, directory::Refusal> {
        tell!("check-password {username}");
        self.taint(Taint::Password);
        // Outside a request there is nobody whose password it could be, and a shadow must not use up anybody's tries.
        let Some(client) = self.head().map(|head| head.client_ip) else { return Err(directory::Refusal::Wrong) };
        if !self.has_effects() {
            return Err(directory::Refusal::Unavailable);
        }
        let directory = self.backend().directory.clone();
        match directory.check_password(client, &username, &password).await {
            Ok(principal) => Ok(self.vouch(principal, &[])),
            Err(PasswordRefusal::Wrong) => Err(directory::Refusal::Wrong),
            Err(PasswordRefusal::Throttled(wait)) => {
                Err(directory::Refusal::Throttled(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1)))
            }
            Err(PasswordRefusal::Unavailable) => Err(directory::Refusal::Unavailable),
        }
    }
}
