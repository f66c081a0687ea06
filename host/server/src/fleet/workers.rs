//! The fleet as the edge sees it.

use std::sync::Arc;

use lectern_domain::{BundleId, ContentGuid, JobKey};
use lectern_edge::{Pool, Worker, Workers};

use super::Fleet;
use super::keeper::Order;

/// What the edge sees.
pub(crate) struct FleetWorkers(pub(crate) Arc<Fleet>);

impl Workers for FleetWorkers {
    fn pool(&self, content: ContentGuid, bundle: BundleId) -> Arc<Pool> {
        match self.0.crew.pools.load().get(&(content, bundle)) {
            Some(face) => Arc::clone(&face.pool),
            None => self.0.face((content, bundle)).pool,
        }
    }

    fn leaving(&self, content: ContentGuid) -> Vec<Arc<Worker>> {
        let leaving = self.0.crew.leaving.lock();
        leaving.iter().filter(|(of, _)| *of == content).map(|(_, worker)| Arc::clone(worker)).collect()
    }

    fn report_dead(&self, job: &JobKey) {
        for (key, face) in self.0.crew.pools.load().iter() {
            if let Some(worker) = face.pool.workers().iter().find(|worker| worker.job() == job) {
                // At once, so that whoever tries again waits for another worker instead of meeting this one.
                worker.close();
                self.0.crew.tell_now(key, Order::Dead(job.clone()));
            }
        }
    }

    fn cookie_key(&self) -> &[u8; 32] {
        &self.0.crew.settings.cookie_key
    }

    fn visitor_key(&self) -> &[u8; 32] {
        &self.0.crew.settings.visitor_key
    }
}
