//! Minimal baseline servers: they do only the essential work of a scenario, with the usual libraries.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::get;
use clap::{Args, ValueEnum};
use redis::aio::MultiplexedConnection;
use redis::{AsyncTypedCommands as _, Script};
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};

/// Arguments of a baseline server.
#[derive(Args, Debug)]
pub struct BaselineArgs {
    /// Work of a request.
    kind: Kind,
    /// Port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// URL of the upstream or the store.
    #[arg(long, default_value = "")]
    target: String,
    /// Size of the constant response, in bytes.
    #[arg(long, default_value_t = 0)]
    bytes: usize,
}

/// The work of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// GET: a constant page.
    Static,
    /// GET: a constant page after one HTTP call to the target.
    TwoHop,
    /// POST: one INCR on one shared connection, then a redirect.
    RedisVote,
    /// POST: one script that adds the form to a set and counts it if it is new, then a redirect.
    RedisBallot,
    /// POST: one transaction with one update of a counter, then a redirect.
    CommitPerVote,
}

/// Serves until it is killed.
pub async fn serve(arguments: &BaselineArgs) -> anyhow::Result<()> {
    let BaselineArgs { kind, port, target, bytes } = arguments;
    let page: Arc<str> = "x".repeat(*bytes).into();
    let routes = match kind {
        Kind::Static => Router::new()
            .fallback(get(async move || ([(header::CONTENT_TYPE, "application/json")], page.to_string()))),
        Kind::TwoHop => two_hop(target.clone(), page)?,
        Kind::RedisVote => redis_vote(target).await?,
        Kind::RedisBallot => redis_ballot(target).await?,
        Kind::CommitPerVote => commit_per_vote(target).await?,
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", *port)).await.context("cannot listen")?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, routes).await?)
}

fn two_hop(upstream: String, page: Arc<str>) -> anyhow::Result<Router> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let show = async move || match client.get(&upstream).send().await {
        Ok(answer) => match answer.bytes().await {
            Ok(_) => Html(page.to_string()).into_response(),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        },
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    };
    Ok(Router::new().route("/", get(show)))
}

async fn redis_vote(url: &str) -> anyhow::Result<Router> {
    let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    async fn vote(State(mut connection): State<MultiplexedConnection>, _form: Bytes) -> impl IntoResponse {
        match connection.incr("Cats", 1).await {
            Ok(_) => Redirect::to("/").into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
    Ok(Router::new().route("/", axum::routing::post(vote)).with_state(connection))
}

async fn redis_ballot(url: &str) -> anyhow::Result<Router> {
    const COUNT_IF_NEW: &str =
        "if redis.call('SADD', KEYS[2], ARGV[1]) == 1 then redis.call('INCR', KEYS[1]) end";
    let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    type Shared = (MultiplexedConnection, Arc<Script>);
    async fn vote(State((mut connection, script)): State<Shared>, form: Bytes) -> impl IntoResponse {
        let mut call = script.key("Cats");
        match call.key("ballots").arg(&*form).invoke_async::<()>(&mut connection).await {
            Ok(()) => Redirect::to("/").into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
    let state = (connection, Arc::new(Script::new(COUNT_IF_NEW)));
    Ok(Router::new().route("/", axum::routing::post(vote)).with_state(state))
}

async fn commit_per_vote(url: &str) -> anyhow::Result<Router> {
    let pool = MySqlPoolOptions::new().max_connections(64).connect(url).await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS counters (choice VARCHAR(60) PRIMARY KEY, votes BIGINT NOT NULL)",
    )
    .execute(&pool)
    .await?;
    sqlx::query("INSERT IGNORE INTO counters VALUES ('Cats', 0)").execute(&pool).await?;
    async fn commit(pool: &MySqlPool) -> Result<(), sqlx::Error> {
        let mut transaction = pool.begin().await?;
        sqlx::query("UPDATE counters SET votes = votes + 1 WHERE choice = ?")
            .bind("Cats")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }
    async fn vote(State(pool): State<MySqlPool>, _form: Bytes) -> impl IntoResponse {
        match commit(&pool).await {
            Ok(()) => Redirect::to("/").into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
    Ok(Router::new().route("/", axum::routing::post(vote)).with_state(pool))
}
