"""What training costs: pure rules that know neither the API nor a database."""
