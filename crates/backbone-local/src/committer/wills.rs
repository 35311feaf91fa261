//! Wills: kept with their sessions, said once.

use quorate_backbone::{Append, Publication, StoreError, WhenFull};
use quorate_domain::{Refusal, SessionKey, TopicClass, Will, classify_topic};

use super::pending::Pending;
use super::{Committer, fault};
use crate::store::{Store, StoreFault, WillValue};

impl Committer {
    /// Says a will, if it is there and of this epoch, and forgets it.
    pub(super) fn decide_will(
        &mut self,
        key: &SessionKey,
        epoch: u64,
        pending: &mut Pending,
    ) -> Result<(), StoreError> {
        let found = self.shared.store().and_then(|store| store.will(key)).map_err(|error| fault(&error))?;
        let Some(WillValue { will, .. }) = found.filter(|value| value.epoch == epoch) else { return Ok(()) };
        self.say(key, will, pending)
    }

    /// Puts the will of a new connection in the place of what an earlier one left. What that one left to an ordinary
    /// topic is said where its session ends here (MQTT5 3.1.4-3).
    pub(super) fn exchange_will(
        &mut self,
        store: &Store,
        key: &SessionKey,
        epoch: u64,
        goes_on: bool,
        will: Option<Will>,
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        match store.will(key)? {
            Some(WillValue { will, .. }) if !goes_on && is_ordinary(&will) => {
                if let Err(error) = self.say(key, will, pending) {
                    tracing::error!(session = %key, %error, "a will could not be said");
                }
            }
            Some(_) => pending.batch.delete_will(key),
            None => {}
        }
        if let Some(will) = will {
            pending.batch.put_will(store.vault(), key, &WillValue { epoch, will })?;
        }
        Ok(())
    }

    fn say(&mut self, key: &SessionKey, will: Will, pending: &mut Pending) -> Result<(), StoreError> {
        let outcome = self.publish_will(key, will, pending);
        match outcome {
            // Nothing was decided: it can be said later.
            Err(Refusal::StorageFault(error)) => return Err(StoreError::Fault(error)),
            Err(refusal) => tracing::info!(session = %key, %refusal, "a will is forgotten unsaid"),
            Ok(()) => tracing::debug!(session = %key, "a will is said"),
        }
        pending.batch.delete_will(key);
        // Whatever else is decided about the session waits until it can be seen that the will is gone.
        pending.sessions.insert(key.clone());
        pending.sync = true;
        Ok(())
    }

    fn publish_will(&mut self, key: &SessionKey, will: Will, pending: &mut Pending) -> Result<(), Refusal> {
        let Will { author, topic, qos, retain, properties, payload, delay_s: _ } = will;
        match classify_topic(&topic).map_err(|error| Refusal::TopicInvalid(error.to_string()))? {
            TopicClass::Tx(topic) => {
                self.decide_append(Append { topic, author, payload, qos, properties, receipt: None }, pending)?;
            }
            TopicClass::Ordinary if self.topics.rules.access.may_publish(&author.party, &topic) => {
                let (author, session) = (Some(author), Some(key.clone()));
                let publication =
                    Publication { topic, author, session, payload, qos, retain, properties, receipt: None };
                self.decide_ordinary(publication, WhenFull::LeaveOut, pending)?;
            }
            TopicClass::Ordinary | TopicClass::Party(_) => return Err(Refusal::NotAuthorized),
        }
        Ok(())
    }
}

fn is_ordinary(will: &Will) -> bool {
    matches!(classify_topic(&will.topic), Ok(TopicClass::Ordinary))
}
