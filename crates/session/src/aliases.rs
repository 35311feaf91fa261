//! Topic aliases of one connection, both ways (MQTT5 3.3.2.3.4): a number in the place of a topic that was said before.

use std::collections::HashMap;
use std::num::{NonZeroU16, NonZeroUsize};

use bytestring::ByteString;
use lru::LruCache;
use quorate_domain::TOPIC_BYTES_MAX;
use quorate_wire::{Packet, Publish, ReasonCode, encoded_len};

use crate::Session;

/// The aliases of a connection; they end with it.
#[derive(Debug)]
pub(crate) struct Aliases {
    /// The highest that the client may use.
    inward_max: u16,
    inward: HashMap<NonZeroU16, ByteString>,
    /// What stands for the topics of deliveries; the topic that was used longest ago makes room for a new one. `None`: the
    /// client takes no aliases.
    outward: Option<LruCache<ByteString, NonZeroU16>>,
}

/// Why an alias cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Misuse {
    code: ReasonCode,
    reason: &'static str,
}

impl Aliases {
    /// `inward_max`: what CONNACK announced; `outward_max`: what the client said, within our own bound.
    pub(crate) fn new(inward_max: u16, outward_max: u16) -> Self {
        let capacity = NonZeroUsize::new(usize::from(outward_max));
        Self { inward_max, inward: HashMap::new(), outward: capacity.map(LruCache::new) }
    }

    /// Puts the topic that is meant into a PUBLISH of the client, and remembers it.
    fn resolve(&mut self, publish: &mut Publish) -> Result<(), Misuse> {
        let Some(alias) = publish.properties.topic_alias.take() else { return Ok(()) };
        if alias.get() > self.inward_max {
            let reason = "a topic alias above the Topic Alias Maximum of CONNACK (MQTT5 3.3.2-9)";
            return Err(Misuse { code: ReasonCode::TopicAliasInvalid, reason });
        }
        if !publish.topic.is_empty() {
            // A copy: the slice would pin the frame that it came in for as long as the connection lasts.
            // One that is refused for its length is not worth remembering.
            if publish.topic.len() <= TOPIC_BYTES_MAX {
                self.inward.insert(alias, ByteString::from(&*publish.topic));
            }
            return Ok(());
        }
        let reason = "a topic alias that no topic was given for (MQTT5 3.3.4)";
        publish.topic = self.inward.get(&alias).cloned().ok_or(Misuse { code: ReasonCode::ProtocolError, reason })?;
        Ok(())
    }

    /// Lets an alias stand for the topic of a delivery, or introduces one.
    fn shorten(&mut self, publish: &mut Publish) {
        let Some(outward) = &mut self.outward else { return };
        if let Some(alias) = outward.get(&publish.topic) {
            publish.properties.topic_alias = Some(*alias);
            publish.topic = ByteString::new();
            return;
        }
        let freed = if outward.len() == outward.cap().get() { outward.pop_lru() } else { None };
        let next = || u16::try_from(outward.len() + 1).ok().and_then(NonZeroU16::new);
        if let Some(alias) = freed.map(|(_, alias)| alias).or_else(next) {
            outward.put(publish.topic.clone(), alias);
            publish.properties.topic_alias = Some(alias);
        }
    }
}

impl Session {
    /// Puts the topic that is meant into a PUBLISH of the client. `None`: there is none, and the connection ends.
    pub(crate) fn resolve_alias(&mut self, mut publish: Publish) -> Option<Publish> {
        match self.aliases.resolve(&mut publish) {
            Ok(()) => Some(publish),
            Err(Misuse { code, reason }) => {
                self.fail(code, reason);
                None
            }
        }
    }

    /// Shortens a delivery that is about to be written. The alias that it introduces makes it a little longer once: not
    /// where it would be longer than the client takes.
    pub(crate) fn shorten_topic(&mut self, publish: Box<Publish>) -> Box<Publish> {
        /// The identifier of the property and its value; the length before them may grow by a byte.
        const ALIAS_BYTES: usize = 4;
        let packet = Packet::Publish(publish);
        let has_room = self.packet_bytes_max.is_none_or(|bytes_max| {
            encoded_len(&packet, self.version).is_ok_and(|bytes| bytes + ALIAS_BYTES <= bytes_max as usize)
        });
        let Packet::Publish(mut publish) = packet else { unreachable!("it was made one above") };
        if has_room {
            self.aliases.shorten(&mut publish);
        }
        publish
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_wire::{PublishProperties, QoS};

    use super::*;

    fn publish(topic: &str, alias: Option<u16>) -> Publish {
        let topic_alias = alias.and_then(NonZeroU16::new);
        Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: topic.into(),
            packet_id: None,
            properties: PublishProperties { topic_alias, ..PublishProperties::default() },
            payload: Bytes::new(),
        }
    }

    #[test]
    fn an_alias_stands_for_the_last_topic_that_it_was_given() {
        let mut aliases = Aliases::new(2, 0);
        for (said, alias, meant) in
            [("a", 1, "a"), ("", 1, "a"), ("b", 2, "b"), ("c", 1, "c"), ("", 1, "c"), ("", 2, "b")]
        {
            let mut publish = publish(said, Some(alias));
            assert_eq!(aliases.resolve(&mut publish), Ok(()));
            assert_eq!((&*publish.topic, publish.properties.topic_alias), (meant, None));
        }
    }

    #[test]
    fn an_alias_that_is_too_high_or_unknown_is_refused() {
        let mut aliases = Aliases::new(2, 0);
        let code = |aliases: &mut Aliases, mut publish| aliases.resolve(&mut publish).map_err(|misuse| misuse.code);
        assert_eq!(code(&mut aliases, publish("a", Some(3))), Err(ReasonCode::TopicAliasInvalid));
        assert_eq!(code(&mut aliases, publish("", Some(2))), Err(ReasonCode::ProtocolError));
    }

    #[test]
    fn outward_the_topic_that_was_used_longest_ago_makes_room() {
        let mut aliases = Aliases::new(0, 2);
        let mut said = |topic| {
            let mut publish = publish(topic, None);
            aliases.shorten(&mut publish);
            (publish.topic.to_string(), publish.properties.topic_alias.map(NonZeroU16::get))
        };
        let full = |topic: &str, alias| (topic.to_owned(), Some(alias));
        assert_eq!(said("a"), full("a", 1));
        assert_eq!(said("b"), full("b", 2));
        assert_eq!(said("a"), full("", 1));
        assert_eq!(said("c"), full("c", 2));
        assert_eq!(said("b"), full("b", 1));
        assert_eq!(said("c"), full("", 2));
    }

    #[test]
    fn without_a_maximum_topics_stay_as_they_are() {
        let mut publish = publish("a", None);
        Aliases::new(0, 0).shorten(&mut publish);
        assert_eq!((&*publish.topic, publish.properties.topic_alias), ("a", None));
    }
}
