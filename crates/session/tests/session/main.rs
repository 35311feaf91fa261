//! Sessions in virtual time: the rules of one connection (`protocol`; of QoS 2: `exactly_once`), and random schedules over many (`schedules`).

mod exactly_once;
mod protocol;
mod schedules;
mod world;
