//! A visitor with the cookies of every canary, who sees when release 2.0 answers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::COOKIE;
use tokio::task::JoinHandle;
use voting_http::serving_path::ServingPath;

/// Delay between two requests.
const INTERVAL: Duration = Duration::from_millis(200);

/// A running visitor; the end of this value ends it.
pub struct Probe {
    answers: Arc<Mutex<Answers>>,
    task: JoinHandle<()>,
}

/// When release 2.0 answered, since the last call of [`Probe::forget`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    pub first: Option<Instant>,
    pub last: Option<Instant>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probe {
    /// Starts the visitor at this URL.
    pub fn start(url: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let (url, answers) = (url.to_owned(), Arc::<Mutex<Answers>>::default());
        let task = tokio::spawn({
            let answers = answers.clone();
            async move {
                loop {
                    let request = client.get(&url).header(COOKIE, "votingaccount=on; featureflag=on");
                    if let Ok(answer) = request.send().await
                        && ServingPath::from_headers(answer.headers())
                            .is_some_and(|path| path.release("app") == Some("2.0"))
                    {
                        let mut answers = answers.lock().unwrap();
                        let now = Instant::now();
                        answers.first.get_or_insert(now);
                        answers.last = Some(now);
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        });
        Ok(Self { answers, task })
    }

    /// Begins anew.
    pub fn forget(&self) {
        *self.answers.lock().unwrap() = Answers::default();
    }

    /// What was seen so far.
    pub fn answers(&self) -> Answers {
        *self.answers.lock().unwrap()
    }

    /// Waits until release 2.0 has not answered for five seconds.
    pub async fn is_back(&self) -> Answers {
        loop {
            let answers = self.answers();
            if answers.last.is_none_or(|last| last.elapsed() > Duration::from_secs(5)) {
                return answers;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
