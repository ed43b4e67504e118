//! Services with every possible outcome of a vote.

use std::time::Duration;

use voting_tests::deployment::Deployment;
use voting_tests::http::Visitor;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;
use voting_tests::{PATIENCE, eventually};

/// App 1.0 with analytics 1.1 on a Redis behind a proxy.
pub struct Poll {
    pub deployment: Deployment,
    pub redis: Redis,
    proxy: Proxy,
}

impl Poll {
    pub async fn start() -> Self {
        let redis = Redis::database().await;
        let proxy = Proxy::start(redis.address(), Mode::Open).await;
        let deployment = Deployment::start("1.0", "1.1", &redis.url_at(proxy.address()), &[]).await;
        Self { deployment, redis, proxy }
    }

    /// Creates votes with each outcome, and failed calls.
    pub async fn see_everything(&self) {
        let visitor = self.deployment.visitor();
        let ballot = visitor.get("/").await.ballot();
        for outcome in ["counted", "already-counted"] {
            let answer = visitor.post("/", format!("vote=Cats&ballot={ballot}")).await;
            assert_eq!(answer.header("x-vote-outcome"), outcome);
        }
        assert_eq!(visitor.post("/", "vote=Birds").await.status, 422);
        self.disconnect_before_the_response(&visitor).await;
        visitor.vote("Dogs").await;
        self.proxy.set(Mode::DropAnswers);
        let answer = visitor.post("/", "vote=Cats").await;
        assert_eq!(answer.header("x-vote-outcome"), "unconfirmed");
        self.proxy.set(Mode::Closed);
        // An idle connection is probed before a vote is sent on it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let answer = visitor.post("/", "vote=Cats").await;
        assert_eq!(answer.header("x-vote-outcome"), "refused");
        assert_eq!(visitor.get("/").await.status, 200);
        self.proxy.set(Mode::Open);
        let admin = Visitor::new(self.deployment.app.admin_url(""));
        eventually("the store is back", PATIENCE, async || admin.get("/readyz").await.status == 200).await;
        visitor.vote("Cats").await;
        assert_eq!(visitor.get("/").await.status, 200);
    }

    /// Casts a vote whose client disconnects before the response. It is stored after the outage.
    async fn disconnect_before_the_response(&self, visitor: &Visitor) {
        self.proxy.set(Mode::Silent);
        let form = visitor.request("POST", "/").header("content-type", "application/x-www-form-urlencoded");
        let answer = form.body("vote=Cats").timeout(Duration::from_millis(300)).send().await;
        assert!(answer.is_err(), "{answer:?}");
        let admin = Visitor::new(self.deployment.app.admin_url(""));
        let abandoned = "choice=\"Cats\",outcome=\"abandoned\"} 1\n";
        eventually("the vote is called abandoned", PATIENCE, async || {
            admin.get("/metrics").await.text.contains(abandoned)
        })
        .await;
        self.proxy.set(Mode::Open);
    }
}
