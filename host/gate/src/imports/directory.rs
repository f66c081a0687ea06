//! What is published, and who has an account.

use crate::bindings::lectern::plugin::{content, directory, types};
use crate::directory::PasswordRefusal;
use crate::state::State;

impl content::Host for State {
    fn vanity(&mut self) -> Option<content::Mount> {
        let head = self.head()?;
        let (guid, segments) = self.backend().directory.find_vanity(head.path.decoded())?;
        let path = format!("{}/", head.path.prefix(segments));
        Some(content::Mount { content: guid.to_string(), path, segments: u32::try_from(segments).ok()? })
    }
}

impl directory::Host for State {
    fn find_key(&mut self, key: String) -> Option<types::Identity> {
        let principal = self.backend().directory.find_key(&key)?;
        Some(self.vouch(principal, &[]))
    }

    fn find_user(&mut self, name: String) -> Option<types::Identity> {
        let principal = self.backend().directory.find_user(&name)?;
        Some(self.vouch(principal, &[]))
    }

    fn session(&mut self) -> Option<types::Identity> {
        let token = self.head()?.session_token()?;
        let (principal, groups) = self.backend().directory.find_session(token)?;
        Some(self.vouch(principal, &groups))
    }

    async fn check_password(
        &mut self,
        username: String,
        password: String,
    ) -> Result<types::Identity, directory::Refusal> {
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
