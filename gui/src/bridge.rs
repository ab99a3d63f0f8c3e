//! The window's end of the node: asks without waiting, collects replies and new pictures.
//!
//! No thread and no runtime of its own: the node's channels are polled when the window wakes, and
//! wake the window when something has happened, through a [`Waker`] that asks egui for a frame.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, NodeHandle, Overview, Reply};

use crate::model::About;

/// Questions that may wait for replies; more are refused.
const WAITING_MAX: usize = 256;

/// Bursts of news become one frame: egui paints once per wake, this much later.
const COALESCE: Duration = Duration::from_millis(10);

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Asks egui for a frame soon. Not `request_repaint`, which would paint two.
struct Nudge(egui::Context);

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.0.request_repaint_after(COALESCE);
    }
}

/// A function that wakes the window, for the node.
pub fn wake_function(ctx: &egui::Context) -> Arc<dyn Fn() + Send + Sync> {
    let ctx = ctx.clone();
    Arc::new(move || ctx.request_repaint_after(COALESCE))
}

/// See the module.
pub(crate) struct Bridge {
    node: NodeHandle,
    waker: Waker,
    /// Ends with the next picture; `None` after the node has ended.
    next: Option<Later<Option<Arc<Overview>>>>,
    waiting: Vec<(About, Later<Result<Reply, Fault>>)>,
}

impl Bridge {
    pub(crate) fn new(node: NodeHandle, ctx: &egui::Context) -> (Self, Arc<Overview>) {
        let first = node.overview().borrow().clone();
        let bridge = Self {
            waker: Arc::new(Nudge(ctx.clone())).into(),
            next: Some(next(&node, first.clone())),
            node,
            waiting: Vec::new(),
        };
        (bridge, first)
    }

    /// The newest picture, if there is one that was not handed out yet.
    pub(crate) fn news(&mut self) -> Option<Arc<Overview>> {
        let mut newest = None;
        while let Some(later) = &mut self.next {
            let Poll::Ready(picture) = later.as_mut().poll(&mut Context::from_waker(&self.waker))
            else {
                break;
            };
            self.next = picture.clone().map(|picture| next(&self.node, picture));
            newest = picture.or(newest);
        }
        newest
    }

    /// Whether the node has ended: nothing new will come.
    pub(crate) fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// Asks; the reply comes out of [`Self::replies`]. Never waits.
    pub(crate) fn ask(&mut self, command: Command, about: About) -> Result<(), Fault> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(Fault::Invalid {
                why: "PeerConnect is busy; try again in a moment".into(),
            });
        }
        let node = self.node.clone();
        let mut reply: Later<_> = Box::pin(async move { node.call(command).await });
        // The first poll sends the command; without it nothing would happen before the next frame.
        match reply.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => self.waiting.push((about, reply)),
            Poll::Ready(result) => {
                self.waiting
                    .push((about, Box::pin(std::future::ready(result))));
                self.waker.wake_by_ref();
            }
        }
        Ok(())
    }

    /// Replies that have come since the last call.
    pub(crate) fn replies(&mut self) -> Vec<(About, Result<Reply, Fault>)> {
        let mut came = Vec::new();
        let waiting = std::mem::take(&mut self.waiting);
        for (about, mut reply) in waiting {
            match reply.as_mut().poll(&mut Context::from_waker(&self.waker)) {
                Poll::Ready(result) => came.push((about, result)),
                Poll::Pending => self.waiting.push((about, reply)),
            }
        }
        came
    }

    /// Asks the node to end and waits for it, at most `limit`. What it keeps is on disk anyway.
    pub(crate) fn shut_down(&mut self, limit: Duration) {
        if self.ask(Command::Shutdown, About::Nothing).is_err() {
            return;
        }
        let begun = std::time::Instant::now();
        while !self.node.is_closed() && begun.elapsed() < limit {
            self.replies();
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Ends when the node publishes a picture that is not `seen`; `None` when it has ended.
fn next(node: &NodeHandle, seen: Arc<Overview>) -> Later<Option<Arc<Overview>>> {
    let mut pictures = node.overview();
    Box::pin(async move {
        pictures
            .wait_for(|picture| !Arc::ptr_eq(picture, &seen))
            .await
            .ok()
            .map(|picture| picture.clone())
    })
}
