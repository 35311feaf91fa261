//! Sessions in virtual time: the rules of one connection (what is said: `protocol`; what is heard of transactions: `hearing`, of ordinary
//! topics: `ordinary`; QoS 2: `exactly_once`; what the store did not take: `moves`; `aliases`, `wills`), what the specifications say
//! beside them (`clauses`, `deliveries`, `before_5`), and random schedules over many (`schedules`).

mod aliases;
mod before_5;
mod clauses;
mod deliveries;
mod exactly_once;
mod hearing;
mod moves;
mod ordinary;
mod protocol;
mod schedules;
mod wills;
mod world;
