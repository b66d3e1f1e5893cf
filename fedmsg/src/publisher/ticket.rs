//! The answer to one publish, for threads and for tasks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Job, PublishError, Publisher, Receipt};
use crate::queue::PushError;
use crate::seal::Checked;

type Receiver = oneshot::AsyncReceiver<Result<Receipt, PublishError>>;

/// A message in the queue; its receipt comes later. `.wait()` blocks the thread, `.await` a task.
#[must_use = "the receipt says whether the message was published; drop the ticket explicitly if nobody cares"]
#[derive(Debug)]
pub struct Ticket {
    receiver: Option<oneshot::Receiver<Result<Receipt, PublishError>>>,
    polled: Option<Receiver>,
}

impl Ticket {
    pub(super) fn new(receiver: oneshot::Receiver<Result<Receipt, PublishError>>) -> Ticket {
        Ticket { receiver: Some(receiver), polled: None }
    }

    /// Waits for the receipt.
    pub fn wait(mut self) -> Result<Receipt, PublishError> {
        match self.receiver.take() {
            Some(receiver) => receiver.recv().unwrap_or(Err(PublishError::Closed)),
            None => Err(PublishError::Indeterminate),
        }
    }

    /// Waits for the receipt, at most so long; then [`PublishError::Indeterminate`].
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Receipt, PublishError> {
        let Some(receiver) = self.receiver.take() else { return Err(PublishError::Indeterminate) };
        match receiver.recv_timeout(timeout) {
            Ok(result) => result,
            Err(oneshot::RecvTimeoutError::Timeout) => Err(PublishError::Indeterminate),
            Err(oneshot::RecvTimeoutError::Disconnected) => Err(PublishError::Closed),
        }
    }
}

impl Future for Ticket {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(receiver) = self.receiver.take() {
            self.polled = Some(receiver.into_future());
        }
        match &mut self.polled {
            Some(receiver) => {
                let received = Pin::new(receiver).poll(task);
                received.map(|result| result.unwrap_or(Err(PublishError::Closed)))
            }
            None => Poll::Ready(Err(PublishError::Indeterminate)),
        }
    }
}

/// A message that is to be published as soon as somebody waits for it: `.wait()` blocks the thread,
/// `.await` a task. With a full queue both wait for room, unless the publisher was told to fail.
#[must_use = "nothing is published before `.wait()` or `.await`; `enqueue` publishes without waiting"]
#[derive(Debug)]
pub struct Publishing {
    publisher: Publisher,
    state: State,
}

#[derive(Debug)]
enum State {
    Checked(Box<Result<Checked, PublishError>>),
    Queued(Ticket),
    Done,
}

impl Publishing {
    pub(super) fn new(publisher: Publisher, checked: Result<Checked, PublishError>) -> Publishing {
        Publishing { publisher, state: State::Checked(Box::new(checked)) }
    }

    /// Publishes and waits for the receipt.
    pub fn wait(self) -> Result<Receipt, PublishError> {
        self.enter(None)?.wait()
    }

    /// Publishes and waits for the receipt, at most so long. When the time is over the message may have
    /// been published or not ([`PublishError::Indeterminate`]), unless it did not even get into the queue
    /// ([`PublishError::Full`]).
    pub fn wait_timeout(self, timeout: Duration) -> Result<Receipt, PublishError> {
        let deadline = Instant::now() + timeout;
        let ticket = self.enter(Some(deadline))?;
        ticket.wait_timeout(deadline.saturating_duration_since(Instant::now()))
    }

    fn enter(self, deadline: Option<Instant>) -> Result<Ticket, PublishError> {
        let State::Checked(checked) = self.state else { return Err(PublishError::Indeterminate) };
        let handle = &self.publisher.handle;
        let (job, bytes, receipt) = job(*checked)?;
        let pushed = match handle.on_full {
            super::OnFull::Block => handle.shared.queue.push(job, bytes, deadline),
            super::OnFull::Fail => handle.shared.queue.try_push(job, bytes),
        };
        self.publisher.pushed(pushed.map_err(|error| match error {
            PushError::Full(_) => PublishError::Full,
            PushError::Closed(_) => PublishError::Closed,
        }))?;
        Ok(Ticket::new(receipt))
    }

    /// Puts the message into the queue, or leaves it here until there is room.
    fn poll_enter(&mut self, task: &mut Context<'_>) -> Poll<Result<(), PublishError>> {
        let State::Checked(checked) = std::mem::replace(&mut self.state, State::Done) else {
            return Poll::Ready(Err(PublishError::Indeterminate));
        };
        let handle = &self.publisher.handle;
        let (job, bytes, receipt) = job(*checked)?;
        let pushed = match handle.shared.queue.poll_push(job, bytes, task) {
            Ok(first) => Ok(first),
            Err(PushError::Full(job)) if handle.on_full == super::OnFull::Block => {
                self.state = State::Checked(Box::new(Ok(job.message)));
                return Poll::Pending;
            }
            Err(PushError::Full(_)) => Err(PublishError::Full),
            Err(PushError::Closed(_)) => Err(PublishError::Closed),
        };
        self.publisher.pushed(pushed)?;
        self.state = State::Queued(Ticket::new(receipt));
        Poll::Ready(Ok(()))
    }
}

type Parts = (Job, usize, oneshot::Receiver<Result<Receipt, PublishError>>);

fn job(checked: Result<Checked, PublishError>) -> Result<Parts, PublishError> {
    let message = checked?;
    let bytes = message.len();
    let (answer, receipt) = oneshot::channel();
    Ok((Job { message, answer }, bytes, receipt))
}

impl Future for Publishing {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Checked(_) = self.state {
            match self.poll_enter(task) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        match &mut self.state {
            State::Queued(ticket) => Pin::new(ticket).poll(task),
            _ => Poll::Ready(Err(PublishError::Indeterminate)),
        }
    }
}
