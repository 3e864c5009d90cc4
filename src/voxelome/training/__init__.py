"""Networks of one's own: trained with torch, exported to the registry's form; in no image that infers."""
