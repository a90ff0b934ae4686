//! The data plane's front: listeners, connections and the hot routes, over hyper without a router.
//!
//! One thread and one current-thread runtime per core, each with a listening socket of its own
//! (`SO_REUSEPORT`), so that a verdict is read, decided and written without leaving its core. Requests for
//! a hot route are answered on the spot; all others are handed to the control plane's own runtime, so that
//! slow control work never holds a hot core up. The public listener is the same machinery without hot
//! routes.
//!
//! This crate decides nothing (the engine does), keeps nothing, knows no customer or admin route, and
//! speaks HTTP/1.1 only: HTTP/2 would put its framing between a request and its verdict, and API servers
//! and proxies keep HTTP/1.1 connections open anyway.
//!
//! Reading order: [`gate`] (threads, doors, the graceful end), [`front`] (who answers a request),
//! [`mod@verify`] (`POST /v1/verify`), [`listen`] (sockets), then the private `connection` and `patience` (how
//! long a peer may keep us waiting).
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use claviger_domain::time::SystemClock;
//! use claviger_engine::Engine;
//! use claviger_gate::{Door, Front, Gate, Verify, listen};
//! use hyper::service::service_fn;
//!
//! # async fn run(engine: Arc<Engine>) -> std::io::Result<()> {
//! let control = tokio::runtime::Handle::current();
//! // An axum router goes here as `TowerToHyperService::new(router)`.
//! let fallback = service_fn(async |_request| {
//!     Ok::<_, std::convert::Infallible>(http::Response::new(String::from("the control plane")))
//! });
//! let front = Front::new(control, fallback).with_verify(Verify::new(engine, Arc::new(SystemClock)));
//! let listeners = listen::bind(([127, 0, 0, 1], 8081).into(), 4)?;
//! let gate = Gate::open(vec![Door::tcp(listeners, front)])?;
//! // … until a signal arrives …
//! gate.close().await;
//! # Ok(())
//! # }
//! ```

mod body;
mod connection;
pub mod front;
pub mod gate;
pub mod listen;
mod patience;
pub mod verify;

pub use self::body::{AnswerBody, BodyError, RequestBody};
pub use self::connection::{BUFFER_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
pub use self::front::Front;
pub use self::gate::{Door, Gate};
pub use self::verify::Verify;
