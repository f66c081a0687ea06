//! Hostile input at every route, made from the OpenAPI document: a route that is added is attacked, too.
//!
//! What holds everywhere: no input makes the server fail, what is refused is refused in the protocol's form, and a request
//! that is not in its form changes nothing.

mod addresses;
mod assignment;
mod bodies;
mod fields;
mod objects;
mod operations;
mod queries;
mod replay;
mod sessions;
