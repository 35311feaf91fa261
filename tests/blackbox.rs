//! Black-box tests of the built binary: real TLS, real sockets, real clients, SIGKILL. One module a behaviour.

mod actors;
mod api;
mod clients;
mod closed_room;
mod command_line;
mod crash;
mod demo;
mod drain;
mod exactly_once;
mod interop;
mod lanes;
mod listeners;
mod mosquitto;
mod offline;
mod operator;
mod ordinary;
mod power_cut;
mod queues;
mod retained;
mod scenarios;
mod shared;
mod sigkill;
mod slots;
mod stage;
mod tls;
mod wills;
