//! Publishing through the protocol, as the clients do it: create, upload, deploy, poll.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::http::{Ask, Reply};
use crate::server::{Account, Server};

/// Longest wait for a task: restoring packages over a slow line is the longest.
const TASK: Duration = Duration::from_secs(300);

/// A finished task.
#[derive(Debug)]
pub struct Done {
    /// 0 is success.
    pub code: i64,
    /// What went wrong.
    pub error: String,
    /// All its output, lines joined.
    pub output: String,
}

impl Done {
    /// The task, which must have succeeded.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.error, self.output);
        self
    }

    /// The task, which must have failed and said why.
    #[track_caller]
    pub fn expect_failure(self) -> Self {
        assert_ne!(self.code, 0, "{}", self.output);
        assert!(!self.error.is_empty(), "a failed task says why: {}", self.output);
        self
    }
}

/// Somebody who publishes on a server.
#[derive(Debug, Clone, Copy)]
pub struct Publisher<'a> {
    /// Where.
    pub server: &'a Server,
    /// As whom.
    pub account: &'a Account,
}

impl<'a> Publisher<'a> {
    /// Publishes as `account`.
    pub fn new(server: &'a Server, account: &'a Account) -> Self {
        Self { server, account }
    }

    /// Begins a request to the API with this account's key.
    pub fn api(&self, method: Method, path: &str) -> Ask {
        self.server.ask(method, &format!("/__api__{path}")).key(&self.account.key)
    }

    /// Makes a content item; answers its GUID.
    pub fn create(&self, name: &str) -> String {
        let made = self.api(Method::POST, "/v1/content").json(&json!({"name": name})).send();
        assert!((200..300).contains(&made.status), "{}", made.text());
        text(&made.json()["guid"])
    }

    /// The content item as the API shows it.
    pub fn content(&self, guid: &str) -> Value {
        self.api(Method::GET, &format!("/v1/content/{guid}")).send().expect(200).json()
    }

    /// Changes settings of a content item.
    pub fn change(&self, guid: &str, settings: &Value) -> Reply {
        self.api(Method::PATCH, &format!("/v1/content/{guid}")).json(settings).send()
    }

    /// Uploads a bundle; answers the server's reply.
    pub fn try_upload(&self, guid: &str, bundle: &[u8]) -> Reply {
        let ask = self.api(Method::POST, &format!("/v1/content/{guid}/bundles"));
        ask.header("content-type", "application/gzip").body(bundle.to_vec()).send()
    }

    /// Uploads a bundle; answers its number.
    #[track_caller]
    pub fn upload(&self, guid: &str, bundle: &[u8]) -> String {
        let reply = self.try_upload(guid, bundle);
        assert!((200..300).contains(&reply.status), "{} {}", reply.status, reply.text());
        text(&reply.json()["id"])
    }

    /// Asks for a bundle to be deployed; answers the task's id.
    #[track_caller]
    pub fn start_deploy(&self, guid: &str, bundle: &str) -> String {
        let ask = self.api(Method::POST, &format!("/v1/content/{guid}/deploy"));
        text(&ask.json(&json!({"bundle_id": bundle})).send().expect(202).json()["task_id"])
    }

    /// Asks for a bundle to be deployed as a draft; answers the task's id.
    #[track_caller]
    pub fn start_draft(&self, guid: &str, bundle: &str) -> String {
        let ask = self.api(Method::POST, &format!("/v1/content/{guid}/deploy"));
        text(&ask.json(&json!({"bundle_id": bundle, "activate": false})).send().expect(202).json()["task_id"])
    }

    /// Deploys a bundle and waits for the task.
    #[track_caller]
    pub fn deploy(&self, guid: &str, bundle: &str) -> Done {
        self.wait(&self.start_deploy(guid, bundle))
    }

    /// Waits for a task's end, asking as rsconnect-python does.
    #[track_caller]
    pub fn wait(&self, task: &str) -> Done {
        let end = Instant::now() + TASK;
        let (mut first, mut output) = (0, Vec::new());
        loop {
            let path = format!("/v1/tasks/{task}?first={first}&wait=1");
            let seen = self.api(Method::GET, &path).send().expect(200).json();
            output.extend(seen["output"].as_array().expect("lines").iter().map(text));
            first = seen["last"].as_i64().expect("a count");
            if seen["finished"] == true {
                let code = seen["code"].as_i64().expect("a code");
                return Done { code, error: text(&seen["error"]), output: output.join("\n") };
            }
            assert!(Instant::now() < end, "task {task} does not end:\n{}", output.join("\n"));
        }
    }

    /// Publishes a bundle as a new content item, which must succeed; answers its GUID.
    #[track_caller]
    pub fn publish(&self, name: &str, bundle: &[u8]) -> String {
        let guid = self.create(name);
        self.redeploy(&guid, bundle);
        guid
    }

    /// Publishes a bundle as a content item's next version, which must succeed; answers the bundle's number.
    #[track_caller]
    pub fn redeploy(&self, guid: &str, bundle: &[u8]) -> String {
        let id = self.upload(guid, bundle);
        let _ = self.deploy(guid, &id).expect_success();
        id
    }

    /// Asks the content for `path` with this account's key.
    pub fn open(&self, guid: &str, path: &str) -> Reply {
        self.server.get(&format!("/content/{guid}/{path}")).key(&self.account.key).send()
    }
}

/// The text in a JSON value; panics when it is none.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}
