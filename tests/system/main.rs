//! Tests of the whole system: the built binary on the host's kernel, as people use it.
//! They hold a lock, since they count what the host has; they need root and say so.

mod support;

mod aliases;
mod attacks;
mod attacks_on_the_host;
mod attest;
mod bare;
mod basics;
mod bundles;
mod containers;
mod cpython;
mod crowds;
mod demand;
mod differential;
mod doctor;
mod egress;
mod executions;
mod floods;
mod images;
mod interpreters;
mod interrupted;
mod killed;
mod leaks;
mod learning;
mod links;
mod moves;
mod passed;
mod races;
mod receivers;
mod records;
mod reload;
mod sockets;
mod software;
mod terminal;
mod venv;
mod waiting;
