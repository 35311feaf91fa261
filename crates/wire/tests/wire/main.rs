//! The codec from outside: every rule that concerns bytes by its clause, round trips over generated packets, streams in
//! random cuts, and other codecs beside it.

mod checks;
mod corpus;
mod differential;
mod encoding;
mod generated_fields;
mod generators;
mod oracles;
mod peers;
mod rules_answers;
mod rules_connect;
mod rules_header;
mod rules_publish;
mod rules_subscribe;
mod stream;
