/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FIRESTEEL_DNS_NAMES_H
#define FIRESTEEL_DNS_NAMES_H

#include "../cursor.h"

/* "AAAA", or "TYPE65280" for a type without a name (RFC 3597, section 5). */
void fs_dns_type(uint16_t number, struct fs_label *out);

/* "NXDOMAIN", or "RCODE12". Includes those of EDNS. */
void fs_dns_rcode(uint16_t number, struct fs_label *out);

#endif
