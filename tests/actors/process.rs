//! Actors that are processes: a line of JSON for each word on their standard input, one for each event on their output.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::{Receiver, Sender};

const PAHO: &str = include_str!("../clients/paho_actor.py");
const MQTT_JS: &str = include_str!("../clients/mqttjs_actor.js");

pub async fn paho(place: Value, words: Receiver<Value>, events: Sender<Value>) {
    let python = std::env::var("QUORATE_TEST_PYTHON")
        .expect("QUORATE_TEST_PYTHON names a Python with paho-mqtt; `make test` sets it");
    let mut command = Command::new(python);
    command.args(["-c", PAHO, &place.to_string()]);
    play(command, words, events).await;
}

pub async fn mqtt_js(place: Value, words: Receiver<Value>, events: Sender<Value>) {
    let modules = std::env::var("QUORATE_TEST_NODE_MODULES")
        .expect("QUORATE_TEST_NODE_MODULES names a node_modules with mqtt; `make test` sets it");
    let mut command = Command::new("node");
    command.args(["-e", MQTT_JS, "--", &place.to_string()]).env("NODE_PATH", modules);
    play(command, words, events).await;
}

/// Plays until nobody gives words any more, or the process ends by itself; it is killed with this task.
async fn play(mut command: Command, mut words: Receiver<Value>, events: Sender<Value>) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("`make test` installs what the actors need");
    let mut input = child.stdin.take().expect("piped");
    let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
    // Dropped before its output is, so that it is killed before it finds that nobody listens.
    let _child = child;
    let hear = async {
        while let Some(word) = words.recv().await {
            input.write_all(format!("{word}\n").as_bytes()).await.expect("an actor that listens");
        }
    };
    let tell = async {
        while let Some(line) = output.next_line().await.expect("lines") {
            let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if events.send(event).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = hear => {}
        () = tell => {}
    }
}
