CONFIG_SRC := host/config/config.c host/config/config_flags.c host/config/config_table.c \
	host/config/config_value.c host/config/config_yaml.c host/config/egress_rule.c \
	host/config/siblings.c
CONFIG_MAIN :=
