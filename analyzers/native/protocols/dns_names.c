/* SPDX-License-Identifier: Apache-2.0 */
/* Names of IANA's "Domain Name System (DNS) Parameters", what is asked for most first. */
#include "dns_names.h"

struct name {
	uint16_t number;
	const char *text;
};

static const struct name types[] = {
	{1, "A"},	{28, "AAAA"},	    {65, "HTTPS"},  {33, "SRV"},     {12, "PTR"},	 {15, "MX"},
	{16, "TXT"},	{5, "CNAME"},	    {2, "NS"},	    {6, "SOA"},	     {64, "SVCB"},	 {255, "ANY"},
	{257, "CAA"},	{43, "DS"},	    {48, "DNSKEY"}, {35, "NAPTR"},   {46, "RRSIG"},	 {47, "NSEC"},
	{50, "NSEC3"},	{51, "NSEC3PARAM"}, {52, "TLSA"},   {53, "SMIMEA"},  {44, "SSHFP"},	 {39, "DNAME"},
	{13, "HINFO"},	{17, "RP"},	    {18, "AFSDB"},  {29, "LOC"},     {24, "SIG"},	 {25, "KEY"},
	{30, "NXT"},	{36, "KX"},	    {37, "CERT"},   {38, "A6"},	     {42, "APL"},	 {45, "IPSECKEY"},
	{49, "DHCID"},	{55, "HIP"},	    {59, "CDS"},    {60, "CDNSKEY"}, {61, "OPENPGPKEY"}, {62, "CSYNC"},
	{63, "ZONEMD"}, {99, "SPF"},	    {108, "EUI48"}, {109, "EUI64"},  {249, "TKEY"},	 {250, "TSIG"},
	{251, "IXFR"},	{252, "AXFR"},	    {253, "MAILB"}, {254, "MAILA"},  {256, "URI"},	 {258, "AVC"},
	{259, "DOA"},	{260, "AMTRELAY"},  {32768, "TA"},  {32769, "DLV"},  {11, "WKS"},	 {14, "MINFO"},
	{3, "MD"},	{4, "MF"},	    {7, "MB"},	    {8, "MG"},	     {9, "MR"},		 {10, "NULL"},
	{19, "X25"},	{20, "ISDN"},	    {21, "RT"},	    {22, "NSAP"},    {23, "NSAP-PTR"},	 {26, "PX"},
	{27, "GPOS"},	{40, "SINK"},	    {41, "OPT"},    {104, "NID"},    {105, "L32"},	 {106, "L64"},
	{107, "LP"},
};

/* RFC 6895, section 2.3; 16 and above need EDNS. */
static const struct name rcodes[] = {
	{0, "NOERROR"},	 {3, "NXDOMAIN"},   {2, "SERVFAIL"}, {1, "FORMERR"},   {4, "NOTIMP"},
	{5, "REFUSED"},	 {6, "YXDOMAIN"},   {7, "YXRRSET"},  {8, "NXRRSET"},   {9, "NOTAUTH"},
	{10, "NOTZONE"}, {11, "DSOTYPENI"}, {16, "BADVERS"}, {17, "BADKEY"},   {18, "BADTIME"},
	{19, "BADMODE"}, {20, "BADNAME"},   {21, "BADALG"},  {22, "BADTRUNC"}, {23, "BADCOOKIE"},
};

static const char *find(const struct name *names, size_t count, uint16_t number)
{
	for (size_t i = 0; i < count; i++)
		if (names[i].number == number)
			return names[i].text;
	return NULL;
}

static void write(const char *name, const char *unknown, uint16_t number, struct fs_label *out)
{
	fs_label_literal(out, name ? name : unknown);
	if (!name)
		fs_label_decimal(out, number);
}

void fs_dns_type(uint16_t number, struct fs_label *out)
{
	write(find(types, sizeof(types) / sizeof(types[0]), number), "TYPE", number, out);
}

void fs_dns_rcode(uint16_t number, struct fs_label *out)
{
	write(find(rcodes, sizeof(rcodes) / sizeof(rcodes[0]), number), "RCODE", number, out);
}
