//! The properties of MQTT 5: identifiers, and the section that rules each (MQTT5 2.2.2.2, table 2-4).
//!
//! Which packet may carry which is written where that packet is decoded.

/// A property of MQTT 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the standard's own")]
pub enum Property {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQoS = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifiersAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

impl Property {
    /// The property with this identifier.
    pub(crate) const fn from_identifier(identifier: u32) -> Option<Self> {
        use Property::*;
        Some(match identifier {
            0x01 => PayloadFormatIndicator,
            0x02 => MessageExpiryInterval,
            0x03 => ContentType,
            0x08 => ResponseTopic,
            0x09 => CorrelationData,
            0x0B => SubscriptionIdentifier,
            0x11 => SessionExpiryInterval,
            0x12 => AssignedClientIdentifier,
            0x13 => ServerKeepAlive,
            0x15 => AuthenticationMethod,
            0x16 => AuthenticationData,
            0x17 => RequestProblemInformation,
            0x18 => WillDelayInterval,
            0x19 => RequestResponseInformation,
            0x1A => ResponseInformation,
            0x1C => ServerReference,
            0x1F => ReasonString,
            0x21 => ReceiveMaximum,
            0x22 => TopicAliasMaximum,
            0x23 => TopicAlias,
            0x24 => MaximumQoS,
            0x25 => RetainAvailable,
            0x26 => UserProperty,
            0x27 => MaximumPacketSize,
            0x28 => WildcardSubscriptionAvailable,
            0x29 => SubscriptionIdentifiersAvailable,
            0x2A => SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// The identifier. All are below 128, so that one byte holds them.
    pub(crate) const fn identifier(self) -> u8 {
        self as u8
    }

    /// The section that gives its values and says that it may come once.
    pub const fn clause(self) -> &'static str {
        use Property::*;
        match self {
            PayloadFormatIndicator => "MQTT5 3.3.2.3.2",
            MessageExpiryInterval => "MQTT5 3.3.2.3.3",
            TopicAlias => "MQTT5 3.3.2.3.4",
            ResponseTopic => "MQTT5 3.3.2.3.5",
            CorrelationData => "MQTT5 3.3.2.3.6",
            UserProperty => "MQTT5 3.3.2.3.7",
            SubscriptionIdentifier => "MQTT5 3.8.2.1.2",
            ContentType => "MQTT5 3.3.2.3.9",
            SessionExpiryInterval => "MQTT5 3.1.2.11.2",
            ReceiveMaximum => "MQTT5 3.1.2.11.3",
            MaximumPacketSize => "MQTT5 3.1.2.11.4",
            TopicAliasMaximum => "MQTT5 3.1.2.11.5",
            RequestResponseInformation => "MQTT5 3.1.2.11.6",
            RequestProblemInformation => "MQTT5 3.1.2.11.7",
            AuthenticationMethod => "MQTT5 3.1.2.11.9",
            AuthenticationData => "MQTT5 3.1.2.11.10",
            WillDelayInterval => "MQTT5 3.1.3.2.2",
            MaximumQoS => "MQTT5 3.2.2.3.4",
            RetainAvailable => "MQTT5 3.2.2.3.5",
            AssignedClientIdentifier => "MQTT5 3.2.2.3.7",
            ReasonString => "MQTT5 3.2.2.3.9",
            WildcardSubscriptionAvailable => "MQTT5 3.2.2.3.11",
            SubscriptionIdentifiersAvailable => "MQTT5 3.2.2.3.12",
            SharedSubscriptionAvailable => "MQTT5 3.2.2.3.13",
            ServerKeepAlive => "MQTT5 3.2.2.3.14",
            ResponseInformation => "MQTT5 3.2.2.3.15",
            ServerReference => "MQTT5 3.2.2.3.16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_27_properties_and_each_knows_its_identifier() {
        let known: Vec<_> = (0..=300).filter_map(Property::from_identifier).collect();
        assert_eq!(known.len(), 27, "MQTT5 2.2.2.2");
        for property in known {
            let identifier = u32::from(property.identifier());
            assert_eq!(Property::from_identifier(identifier), Some(property));
            assert!(identifier < 128);
        }
    }
}
