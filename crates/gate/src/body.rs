//! The bodies that pass through: watched on their way, so that a peer who stalls is noticed.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, SizeHint};

use crate::patience::{BodyWait, Phase, Pulse};

/// Why a body broke off.
#[derive(Debug)]
pub struct BodyError(Box<dyn std::error::Error + Send + Sync>);

impl BodyError {
    fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

type BoxBody = UnsyncBoxBody<Bytes, BodyError>;
type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

fn boxed<B>(body: B) -> BoxBody
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    body.map_err(BodyError::new).boxed_unsync()
}

/// The body of a request as the control plane gets it. The wait for the peer ends with its last byte, or
/// when nobody wants it.
#[derive(Debug)]
pub struct RequestBody {
    body: BoxBody,
    wait: Option<BodyWait>,
}

impl RequestBody {
    /// Takes over the body of a request that is about to be handed to another runtime.
    pub(crate) fn new<B>(body: B, pulse: &Arc<Pulse>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let wait = if body.is_end_stream() {
            pulse.enter(Phase::Answer);
            None
        } else {
            Some(BodyWait::begin(Arc::clone(pulse)))
        };
        Self { body: boxed(body), wait }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || this.body.is_end_stream() {
            this.wait = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct AnswerBody(Answered);

#[derive(Debug)]
enum Answered {
    /// In one piece: a hot route's.
    Whole(Full<Bytes>),
    /// Whatever the control plane made. While it has nothing to give we are the ones who are waited for.
    Watched { body: BoxBody, pulse: Arc<Pulse> },
}

impl AnswerBody {
    pub(crate) fn whole(body: Full<Bytes>) -> Self {
        Self(Answered::Whole(body))
    }

    /// Takes an answer's body back from the control plane.
    pub(crate) fn watched<B>(body: B, pulse: Arc<Pulse>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        Self(Answered::Watched { body: boxed(body), pulse })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match &mut self.get_mut().0 {
            Answered::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Answered::Watched { body, pulse } => {
                let polled = Pin::new(body).poll_frame(context);
                pulse.enter(if polled.is_pending() { Phase::Answer } else { Phase::Sending });
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Answered::Whole(body) => body.is_end_stream(),
            Answered::Watched { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Answered::Whole(body) => body.size_hint(),
            Answered::Watched { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Answered::Watched { pulse, .. } = &self.0 {
            pulse.enter(Phase::Rest);
        }
    }
}
