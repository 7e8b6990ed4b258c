//! The page is part of the program: a file added to `web/` must make it anew, which its macro cannot see by itself.
fn main() {
    println!("cargo:rerun-if-changed=../web");
    println!("cargo:rerun-if-changed=build.rs");
}
