//! The body of an answer on its way to the agent: passed on as it comes, and read in passing.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::meter::AnswerReader;

/// An answer of the model's service. Dropping it settles its cost.
pub(super) struct MeteredBody {
    inner: reqwest::Body,
    /// Absent for what costs nothing.
    reader: Option<AnswerReader>,
    /// The request's place among those under way.
    _place: Option<OwnedSemaphorePermit>,
}

impl MeteredBody {
    pub(super) fn new(
        inner: reqwest::Body,
        reader: Option<AnswerReader>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { inner, reader, _place: place }
    }
}

impl Body for MeteredBody {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), Some(reader)) = (&polled, &mut self.reader)
            && let Some(bytes) = frame.data_ref()
        {
            reader.read(bytes);
        }
        if matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            // Settled before the agent can see the end and ask for more.
            self.reader = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
