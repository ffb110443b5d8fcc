"""Link: bytes in, framed packets, commands to the clusters, framed answers, bytes out."""
