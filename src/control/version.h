// SPDX-License-Identifier: MIT
#ifndef HN_CONTROL_VERSION_H
#define HN_CONTROL_VERSION_H

/* The build passes -DHN_VERSION="..."; this is for compiling a file by hand. */
#ifndef HN_VERSION
#define HN_VERSION "0.1.0"
#endif

#endif
