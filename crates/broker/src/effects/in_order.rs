//! Work of which each piece starts when the one before it has ended.

use std::collections::VecDeque;
use std::future::Future;

use futures_util::future::BoxFuture;

use super::Answer;

/// Futures that run one after the other.
#[derive(Default)]
pub(super) struct InOrder(VecDeque<BoxFuture<'static, Option<Answer>>>);

impl InOrder {
    pub(super) fn push(&mut self, future: impl Future<Output = Option<Answer>> + Send + 'static) {
        self.0.push_back(Box::pin(future));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs them until one has something to say, or all have ended.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        while let Some(first) = self.0.front_mut() {
            let answer = first.await;
            self.0.pop_front();
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}
