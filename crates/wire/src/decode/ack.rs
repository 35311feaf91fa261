//! PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT5 3.4 to 3.7).

use super::reader::Reader;
use super::{Context, DecodeError};
use crate::reason::Place;
use crate::{Ack, ReasonCode, ReasonProperties};

pub(super) fn read(reader: &mut Reader, context: Context) -> Result<Ack, DecodeError> {
    let packet_id = reader.packet_id()?;
    let (mut reason_code, mut properties) = (ReasonCode::Success, None);
    // 5.0 lets a success without properties end here, and a code without properties before their length
    // (MQTT5 3.4.2.1, 3.4.2.2.1); in 3.x there is nothing more.
    if context.is_v5() && !reader.is_at_end() {
        reason_code = reader.reason_code(Place::of_ack(reader.packet_type()))?;
        if !reader.is_at_end() {
            let read = reader.reason_properties()?;
            properties = (read != ReasonProperties::default()).then(|| Box::new(read));
        }
    }
    Ok(Ack { packet_id, reason_code, properties })
}
