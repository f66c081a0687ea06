//! People whom another directory vouches for.

use lectern_domain::UserRole;

use crate::asked::tell;
use crate::backend::{Profile, SignInRefusal};
use crate::bindings::lectern::plugin::{accounts, types};
use crate::learn::Taint;
use crate::state::State;

/// Bytes of one text of a profile. Names and issuers of real directories are shorter.
const MAX_TEXT_BYTES: usize = 256;
/// Groups of one profile.
const MAX_GROUPS: usize = 1_000;
/// Sign-ins of one call.
const MAX_SIGN_INS: u32 = 4;

impl accounts::Host for State {
    async fn sign_in(
        &mut self,
        profile: accounts::Profile,
    ) -> wasmtime::Result<Result<types::Identity, accounts::Refusal>> {
        self.count_sign_in(MAX_SIGN_INS)?;
        tell!("sign-in {}", profile.username);
        self.taint(Taint::SignIn);
        let groups = profile.groups.clone();
        let checked = match check(profile) {
            Ok(checked) => checked,
            Err(what) => return Ok(Err(accounts::Refusal::Invalid(what.to_owned()))),
        };
        match self.grants().highest_role() {
            Some(highest) if checked.role.unwrap_or(UserRole::Viewer) <= highest => {}
            _ => return Ok(Err(accounts::Refusal::NotGranted)),
        }
        if !self.has_effects() {
            return Ok(Err(accounts::Refusal::Unavailable));
        }
        let accounts = self.backend().accounts.clone();
        Ok(match accounts.sign_in(checked).await {
            Ok(principal) => Ok(self.vouch(principal, &groups)),
            Err(SignInRefusal::Unknown) => Err(accounts::Refusal::Unknown),
            Err(SignInRefusal::Locked) => Err(accounts::Refusal::Locked),
            Err(SignInRefusal::NameTaken) => Err(accounts::Refusal::NameTaken),
            Err(SignInRefusal::Invalid(what)) => Err(accounts::Refusal::Invalid(what)),
            Err(SignInRefusal::Unavailable) => Err(accounts::Refusal::Unavailable),
        })
    }
}

/// Reads a profile; an error says which part cannot be.
fn check(raw: accounts::Profile) -> Result<Profile, &'static str> {
    let text = |what: &'static str, text: String, may_be_empty: bool| {
        let fits = text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
        if fits && (may_be_empty || !text.is_empty()) { Ok(text) } else { Err(what) }
    };
    if raw.groups.len() > MAX_GROUPS || raw.groups.iter().any(|group| group.len() > MAX_TEXT_BYTES) {
        return Err("groups");
    }
    Ok(Profile {
        issuer: text("issuer", raw.issuer, false)?,
        subject: text("subject", raw.subject, false)?,
        username: text("username", raw.username, false)?,
        email: text("email", raw.email, true)?,
        first_name: text("first-name", raw.first_name, true)?,
        last_name: text("last-name", raw.last_name, true)?,
        role: raw.role.map(|role| UserRole::parse(&role).ok_or("role")).transpose()?,
        create: raw.create,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_bounded() {
        let good = || accounts::Profile {
            issuer: "https://idp.example".into(),
            subject: "1".into(),
            username: "ada".into(),
            email: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            role: Some("publisher".into()),
            groups: vec!["g".into()],
            create: true,
        };
        assert_eq!(check(good()).map(|profile| profile.role), Ok(Some(UserRole::Publisher)));
        type Spoil = fn(&mut accounts::Profile);
        let cases: [(&str, Spoil); 6] = [
            ("issuer", |p| p.issuer.clear()),
            ("subject", |p| p.subject = "x".repeat(257)),
            ("username", |p| p.username = "a\nb".into()),
            ("email", |p| p.email = "\0".into()),
            ("role", |p| p.role = Some("root".into())),
            ("groups", |p| p.groups = vec!["g".into(); 1_001]),
        ];
        for (what, spoil) in cases {
            let mut profile = good();
            spoil(&mut profile);
            assert_eq!(check(profile), Err(what));
        }
    }
}
