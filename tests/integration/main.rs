//! Backstop between real mail servers: each module is one behaviour, each test starts the servers it needs.

mod works_out_of_the_box;
