//! The request of a case, its visitor and its target, as the gate takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, uri::Authority};
use lectern_domain::access::{AccessRules, AccessType};
use lectern_domain::content::ProcessSettings;
use lectern_domain::launch::{Prepared, Program};
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{AppMode, BundleHash, BundleId, ContentId, UserId};
use lectern_gate::{ClientCertificate, Head, RequestPath, SESSION_COOKIE, Scheme, System, Target, TargetView, Visitor};
use lectern_packages::cases::{self, Case};

use crate::people::SESSION;

/// The head of the request; an error says what a server would refuse it for.
pub(crate) fn head(case: &Case) -> Result<Head, String> {
    let request = &case.request;
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (request.target.as_str(), None),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let unfit = |what| format!("request.headers: {name:?} is not a {what} that a server takes");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit("name"))?;
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unfit("value"))?);
    }
    if case.world.session.is_some() {
        let cookie = format!("{SESSION_COOKIE}={SESSION}");
        headers.append(COOKIE, HeaderValue::from_str(&cookie).map_err(|error| error.to_string())?);
    }
    let authority = request.host.parse::<Authority>().map_err(|error| format!("request.host: {error}"))?;
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| format!("request.method: {error}"))?;
    Ok(Head {
        id: "case".into(),
        method,
        scheme: match request.scheme {
            cases::Scheme::Http => Scheme::Http,
            cases::Scheme::Https => Scheme::Https,
        },
        authority: Some(authority),
        path: RequestPath::parse(path).map_err(|error| format!("request.target: {error}"))?,
        query,
        client_ip: request.client_ip,
        peer_ip: request.peer_ip,
        certificate: request.client_certificate.as_ref().map(|certificate| {
            Arc::new(ClientCertificate {
                sha256: certificate.sha256.clone(),
                subject: certificate.subject.clone(),
                dns_names: certificate.dns_names.clone(),
            })
        }),
        headers,
    })
}

/// The visitor. As on a server, the claim `username` is the account's name, whatever else is claimed.
pub(crate) fn visitor(case: &Case) -> Option<Visitor> {
    let identity = case.visitor.as_ref()?;
    let account = case.world.users.iter().find(|user| user.guid.to_string() == identity.subject);
    let mut claims = identity.claims.clone();
    if let Some(account) = account {
        claims.retain(|(claim, _)| claim != "username");
        claims.push(("username".to_owned(), account.name.clone()));
    }
    Some(Visitor {
        subject: identity.subject.clone(),
        username: claims.iter().find(|(claim, _)| claim == "username").map(|(_, name)| name.clone()),
        groups: identity.groups.clone(),
        claims,
    })
}

/// Where the request goes; the dashboard where the case does not say.
pub(crate) fn target(case: &Case) -> TargetView {
    let Some(target) = &case.target else {
        return TargetView { target: Target::System(System::Dashboard), content: None };
    };
    let entry = ContentEntry {
        id: ContentId(1),
        guid: target.content,
        name: "case".into(),
        title: None,
        mode: AppMode::Static,
        access: AccessRules {
            owner: UserId(1),
            access_type: AccessType::All,
            viewers: BTreeSet::new(),
            editors: BTreeSet::new(),
            groups: Vec::new(),
        },
        active: target.active.map(BundleId),
        bundles: target.bundles.iter().map(|number| (BundleId(*number), bundle(*number))).collect::<BTreeMap<_, _>>(),
        locked_message: None,
        processes: ProcessSettings::default(),
        limits: Default::default(),
        sealed_variables: Vec::new(),
        vanity: None,
        thumbnail: None,
        has_integrations: false,
        variant_key: String::new(),
    };
    TargetView { target: Target::Content(target.content), content: Some(Arc::new(entry)) }
}

/// A bundle of one page. Plugins see its number only.
fn bundle(number: i64) -> Arc<BundleEntry> {
    Arc::new(BundleEntry {
        id: BundleId(number),
        hash: BundleHash([0; 32]),
        prepared: Prepared {
            program: Program::Static { primary: "index.html".into() },
            interpreter: None,
            environment: None,
        },
    })
}
