//! content-router.
