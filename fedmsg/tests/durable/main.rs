//! Durable consumers over the bus in memory, with journals and stores that outlive their processes.

mod going_on;
mod late;
mod owners;
mod trying;
mod world;
