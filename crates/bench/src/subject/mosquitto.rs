//! mosquitto: its configuration, which lets it hold all that is stored and stands in nobody's way.

use super::peer::{Invocation, Places, Saving, Signal, Speaks};

/// The limits are off, Nagle's delay too; autosave is mosquitto's default. `user root` counts where root starts it
/// alone: it would otherwise become a user who may not write into the folder.
pub fn invocation(places: &Places<'_>) -> Invocation {
    let (certificates, store, port) = (&places.certificates, places.store.display(), places.port);
    let configuration = format!(
        "listener {port} 127.0.0.1\n\
         cafile {ca}\n\
         certfile {certificate}\n\
         keyfile {key}\n\
         require_certificate true\n\
         allow_anonymous true\n\
         user root\n\
         set_tcp_nodelay true\n\
         max_queued_messages 0\n\
         max_queued_bytes 0\n\
         max_inflight_messages 0\n\
         persistence true\n\
         persistence_location {store}/\n\
         autosave_interval 1800\n\
         log_dest stderr\n\
         log_type error\n\
         log_type warning\n",
        ca = certificates.ca(),
        certificate = certificates.certificate(),
        key = certificates.key(),
    );
    Invocation {
        configuration,
        speaks: Speaks::Mqtt5,
        // mosquitto(8): SIGUSR1 writes the persistence file; the file takes its name when it is complete.
        saving: Some(Saving { signal: Signal::USR1, file: places.store.join("mosquitto.db") }),
    }
}
