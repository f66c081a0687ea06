//! Looks at the time behind the contract's back.

use std::time::{Duration, Instant, SystemTime};

use lectern_plugin::{Decision, Failure, Host, Reply, Router, export_router};

/// The component.
#[derive(Debug)]
pub struct Standing;

export_router!(Standing);

impl Router for Standing {
    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let text = match host.path_prefix(1).as_str() {
            "/instant" => {
                let began = Instant::now();
                (0..100_000).for_each(|n| {
                    std::hint::black_box(n);
                });
                format!("{:?}", began.elapsed())
            }
            "/system" => format!("{:?}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)),
            "/wait" => {
                std::thread::sleep(Duration::from_millis(1));
                "waited".to_owned()
            }
            _ => return Ok(Decision::Next),
        };
        Ok(Decision::Respond(Reply::text(200, &text)))
    }
}
