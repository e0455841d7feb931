{{ account_list('followers', 'username, display_name') }}
