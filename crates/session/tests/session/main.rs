//! Sessions in virtual time: the rules of one connection (what is said: `protocol`; what is heard: `hearing`; QoS 2:
//! `exactly_once`), and random schedules over many (`schedules`).

mod exactly_once;
mod hearing;
mod protocol;
mod schedules;
mod world;
