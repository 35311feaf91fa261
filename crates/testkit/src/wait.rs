//! Waiting for a condition, with a limit.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

/// How long it waits between two looks: short beside what it waits for, long beside a look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Runs `look` until it is `Ok`, at most until `limit` has passed. A look that hangs is ended at the limit.
///
/// # Errors
/// The last look's error, so that a failed test says what it last saw.
pub async fn eventually<T, F, Fut>(limit: Duration, mut look: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + limit;
    let mut last = anyhow!("the first look did not come back");
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error,
            Err(_) => return Err(last).with_context(|| format!("not within {limit:?}; a look hung")),
        }
        if Instant::now() >= deadline {
            return Err(last).with_context(|| format!("not within {limit:?}"));
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::eventually;

    #[tokio::test]
    async fn it_looks_until_the_condition_holds() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), || {
            looks += 1;
            let enough = looks >= 3;
            async move { enough.then_some(7).ok_or_else(|| anyhow::anyhow!("not yet")) }
        });
        assert_eq!(value.await.expect("at the third look"), 7);
    }

    #[tokio::test]
    async fn the_last_error_is_told_at_the_limit() {
        let error = eventually(Duration::from_millis(30), || async {
            anyhow::Result::<()>::Err(anyhow::anyhow!("two of three"))
        })
        .await
        .expect_err("never");
        assert!(format!("{error:#}").contains("two of three"), "{error:#}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_ended() {
        let never = eventually(Duration::from_millis(30), std::future::pending::<anyhow::Result<()>>);
        assert!(never.await.is_err());
    }
}
